"""The docker backend against a real engine: the contract that every backend keeps, and what is Docker's own.

eval "$(ci/services.sh env)"      # after: ci/services.sh up
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from prewarm.backends.capturing import Presence
from prewarm.backends.docker import DockerBackend
from prewarm.backends.docker.workplace import machine_of
from prewarm.backends.hosting import FileKind
from prewarm.definition.model import ImageBase, Network, RootfsBase
from prewarm.errors import (
    SessionFailedError,
    SessionFileError,
    SessionFileNotFoundError,
    SessionGoneError,
    SessionStateError,
    TemplateInUseError,
    TemplateNotFoundError,
    UnkeyableInputError,
    UnsupportedOptionError,
)
from prewarm.machine import host_platform
from prewarm.testing import BackendContract, Harness
from prewarm.testing.builders import hook, key_of, seed_file, shell
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.workplace import PATIENCE_S

SECRET = b"hunter2-4f1d9c"


class OnDocker(Harness):
    """A backend on the engine that the environment names, and busybox to start from."""

    @pytest.fixture
    def backend(self, context, works):
        made = DockerBackend(context)
        yield made
        made.close()

    @pytest.fixture
    def base(self, backend):
        return self.image(backend, os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"))

    def image(self, backend, reference):
        return backend.resolve_base(
            ImageBase(reference=reference),
            project=Path.cwd(),
            platform=host_platform(),
            sha256=lambda path: pytest.fail(str(path)),
        )

    def leftovers(self, backend, namespace):
        api = backend.engine.api
        tags = [tag for image in api.images() for tag in image["RepoTags"] or ()]
        filters = {"label": [f"dev.prewarm.namespace={namespace}"]}
        containers = [found["Id"] for found in api.containers(all=True, filters=filters)]
        builds = [
            found["Id"]
            for found in api.containers(all=True, filters={"label": ["dev.prewarm.role=build"]})
            if self.is_own(found["Labels"]["dev.prewarm.build"])
        ]
        return (*containers, *builds, *filter(self.is_own, tags))

    def litter(self, backend, namespace):
        found = super().litter(backend, namespace)
        return [one for one in found if "prewarm-base/image" not in one.description or self.is_own(one.description)]

    def is_own(self, name):
        """Say whether something carries the identity of a build whose state directory is this class's."""
        return f"{machine_of(type(self)._home)}-" in name

    @classmethod
    def teardown_class(cls):
        super().teardown_class()
        if "_shared_at" in cls.__dict__:
            cls._shared_at.close()  # It was closed after its test, and has connected once more.

    def delete_behind(self, backend, ref):
        backend.engine.api.remove_image(ref.value["image"], force=True)

    def damage_behind(self, backend, ref):
        api = backend.engine.api
        repository, _, tag = ref.value["tag"].rpartition(":")
        api.remove_image(ref.value["image"], force=True)
        api.tag(os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"), repository, tag)


class TestDockerBackend(OnDocker, BackendContract):
    """The contract."""


def layers_of(api, image):
    """Give every file's name and content in every layer, and the configuration, of a saved image."""
    data = b"".join(api.get_image(image))
    with tarfile.open(fileobj=io.BytesIO(data)) as saved:
        for member in saved:
            file = saved.extractfile(member)
            content = file.read() if file else b""
            yield member.name, content
            with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(content)) as layer:
                for inner in layer:
                    part = layer.extractfile(inner) if inner.isreg() else None
                    yield f"{member.name}: {inner.name}", part.read() if part else b""


def described(api, image):
    """Give the entries of every layer without their times, the configuration and its history, and the layers' digests."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(api.get_image(image)))) as saved:
        for member in saved:
            file = saved.extractfile(member) if member.isreg() else None
            files[member.name] = file.read() if file else b""
    (manifest,) = json.loads(files["manifest.json"])
    layers = []
    for name in manifest["Layers"]:
        with tarfile.open(fileobj=io.BytesIO(files[name])) as layer:
            layers.append(
                [
                    (one.name, one.type, one.mode, one.uid, one.gid, one.linkname, layer.extractfile(one).read())
                    if one.isreg()
                    else (one.name, one.type, one.mode, one.uid, one.gid, one.linkname, b"")
                    for one in layer
                ]
            )
    config = json.loads(files[manifest["Config"]])
    return layers, config, config.pop("rootfs")["diff_ids"]


class TestDockerCaptures(OnDocker):
    """What is particular about templates as images."""

    def test_a_secret_is_in_no_layer_history_line_or_error(self, place):
        step = shell(
            "cat /run/secrets/token; grep -q hunter2 /run/secrets/token; ls -l /run/secrets/token > /workspace/how",
            secrets=("token",),
        )
        by_hook = dataclasses.replace(hook(lambda sandbox: sandbox.run("cat /run/secrets/token")), secrets=("token",))
        captured = place.capture(step, by_hook, shell("true"), secrets={"token": SECRET})

        api = place.backend.engine.api
        found = [name for name, content in layers_of(api, captured.ref.value["image"]) if SECRET in content]
        assert found == []
        assert SECRET.decode() not in str(api.history(captured.ref.value["image"]))
        assert SECRET.decode() not in str(api.inspect_image(captured.ref.value["image"]))
        assert "***" in captured.observer.lines
        assert not any(SECRET.decode() in line for line in captured.observer.lines)

    def test_the_search_for_a_secret_finds_one_that_a_step_writes_down(self, place):
        captured = place.capture(
            shell("cp /run/secrets/token /workspace/leak", secrets=("token",)), secrets={"token": SECRET}
        )

        api = place.backend.engine.api
        assert any(SECRET in content for _, content in layers_of(api, captured.ref.value["image"]))

    def test_a_hook_reads_its_secret_as_a_file_and_the_image_keeps_nothing_of_its_build(self, place):
        heard = []

        def read(sandbox):
            heard.append(sandbox.read("/run/secrets/token"))
            sandbox.write("/run/secrets/more", SECRET)

        captured = place.capture(dataclasses.replace(hook(read), secrets=("token",)), secrets={"token": SECRET})

        assert heard == [SECRET]
        assert not any(
            SECRET in content for _, content in layers_of(place.backend.engine.api, captured.ref.value["image"])
        )
        labels = place.backend.engine.api.inspect_image(captured.ref.value["image"])["Config"]["Labels"]
        assert labels["dev.prewarm.build"] == ""

    def test_passed_variables_reach_steps_and_hooks_and_not_the_image(self, place):
        heard = []
        captured = place.capture(
            shell("test ${#PASSED} = 5"),
            hook(lambda sandbox: heard.append(sandbox.run('printf %s "$PASSED"').stdout)),
            shell("true"),
            pass_env={"PASSED": "a b'c"},
        )

        assert heard == ["a b'c"]
        config = place.backend.engine.api.inspect_image(captured.ref.value["image"])["Config"]
        assert not any("PASSED" in one or "PREWARM" in one for one in config["Env"])
        found = [n for n, c in layers_of(place.backend.engine.api, captured.ref.value["image"]) if b"a b'c" in c]
        assert found == []

    def test_a_certificate_bundle_is_there_for_steps_and_in_no_layer(self, place, tmp_path):
        bundle = tmp_path / "ca.pem"
        bundle.write_text("a bundle of certificates")
        captured = place.capture(
            shell('test "$(wc -c < "$SSL_CERT_FILE")" = 24'),
            hook(lambda sandbox: sandbox.run('test "$(cat $SSL_CERT_FILE)" = "a bundle of certificates"')),
            shell("true"),
            pass_env={"SSL_CERT_FILE": str(bundle)},
        )

        saved = layers_of(place.backend.engine.api, captured.ref.value["image"])
        assert [name for name, content in saved if b"bundle of certificates" in content] == []

    def test_mounts_leave_nothing_in_the_image(self, place):
        captured = place.capture(shell("true", secrets=("token",)), secrets={"token": SECRET})

        names = {
            name.partition(": ")[2] for name, _ in layers_of(place.backend.engine.api, captured.ref.value["image"])
        }
        assert not [name for name in names if name.startswith("run/")]

    def test_two_fresh_captures_differ_in_the_times_of_files_and_in_nothing_else(self, place):
        steps = (
            shell("mkdir -p deep/er && echo 1 > deep/er/file && ln -s deep link"),
            shell("rm /bin/vi; chmod 700 deep"),
        )
        seeds = (seed_file("/workspace/seeded", b"a seed\n"),)
        request = dataclasses.replace(place.request(*steps, seeds=seeds), anew=True)
        api = place.backend.engine.api
        found = []
        for _ in range(2):
            captured = place.publish(request)
            found.append(described(api, captured.ref.value["image"]))
            place.backend.remove(captured.ref)
            time.sleep(1.1 - time.time() % 1.0)  # Times in layers are whole seconds.

        (first_layers, first_config, first_digests), (second_layers, second_config, second_digests) = found
        assert [sorted(layer) for layer in first_layers] == [sorted(layer) for layer in second_layers]
        assert first_config == second_config
        # The other layers hold directories that changed, with the time of the change.
        assert first_digests[0] == second_digests[0]

    def test_a_change_to_the_last_of_ten_steps_runs_one_step(self, place):
        mark = uuid.uuid4().hex
        steps = [shell(f"echo {mark} {number} >> /workspace/log") for number in range(9)]
        place.publish(dataclasses.replace(place.request(*steps, shell("echo one")), env={}))

        changed = place.publish(dataclasses.replace(place.request(*steps, shell("echo two")), env={}))

        lines = [line for line in changed.observer.lines if "build cache" in line]
        assert len(lines) == 9
        assert "two" in changed.observer.lines

    def test_steps_run_again_where_that_is_asked_for_and_where_the_text_that_counts_is_another(self, place):
        request = place.request(shell("cat /proc/sys/kernel/random/uuid > id"))

        def capture(**other):
            captured = place.publish(dataclasses.replace(request, key=key_of(os.urandom(8).hex()), **other))
            return place.text(place.open(captured), "cat id")

        first = capture()
        november = capture(revalidate="2026-11")
        assert capture() == first
        assert capture(revalidate="2026-11") == november != first
        assert capture(revalidate='2026-12 "$x"\n') not in {first, november}
        assert capture(anew=True) != first

    def test_the_image_says_what_it_is(self, place):
        captured = place.capture(shell("true"))

        config = place.backend.engine.api.inspect_image(captured.ref.value["image"])["Config"]
        labels = config["Labels"]
        assert labels["dev.prewarm.namespace"] == place.namespace
        assert labels["dev.prewarm.role"] == "template"
        assert labels["dev.prewarm.key"] == captured.key
        assert labels["dev.prewarm.schema"] == "1"
        assert config["User"] == "sandbox"
        assert config["WorkingDir"] == "/workspace"

    def test_entrypoint_and_command_are_the_bases_unless_the_definition_says_otherwise(self, place):
        api = place.backend.engine.api
        made = api.create_container(os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"), ["x"])["Id"]
        name = f"prewarm-test-{uuid.uuid4().hex}"
        api.commit(made, repository=name, tag="1", conf={"Entrypoint": ["/bin/echo"], "Cmd": ["hello"]})
        api.remove_container(made)
        base = self.image(place.backend, f"{name}:1")
        try:
            steps = shell("true"), hook(lambda sandbox: sandbox.run("true")), shell("true")
            kept = place.publish(dataclasses.replace(place.request(*steps), base=base))
            other = place.publish(
                dataclasses.replace(place.request(*steps), base=base, options={"entrypoint": [], "cmd": ["serve"]})
            )
            after_hook = place.publish(dataclasses.replace(place.request(*steps[:2]), base=base))
        finally:
            api.remove_image(f"{name}:1")

        def config(captured):
            found = api.inspect_image(captured.ref.value["image"])["Config"]
            return found["Entrypoint"], found["Cmd"]

        assert config(kept) == (["/bin/echo"], ["hello"])
        assert config(after_hook) == (["/bin/echo"], ["hello"])
        assert config(other)[1] == ["serve"]
        assert not config(other)[0]

    def test_a_foreign_image_under_a_templates_name_is_corrupt_and_never_used(self, place):
        captured = place.capture(shell("true"))
        api = place.backend.engine.api
        repository, _, tag = captured.ref.value["tag"].rpartition(":")
        api.tag(os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"), repository, tag)

        (answer,) = place.backend.probe([(captured.key, captured.ref)])

        assert answer.presence is Presence.CORRUPT
        assert captured.ref.value["tag"] in answer.detail
        assert place.backend.find(place.namespace, captured.key) is None
        api.remove_image(captured.ref.value["tag"])

    def test_refs_are_asked_about_in_one_call(self, place):
        captured = [place.capture(shell(f"echo {number}")) for number in range(3)]
        calls = []
        api = place.backend.engine.api
        send = api.send
        api.send = lambda request, **options: (calls.append(request.path_url), send(request, **options))[1]
        try:
            answers = place.backend.probe([(one.key, one.ref) for one in captured])
        finally:
            api.send = send

        assert [answer.presence for answer in answers] == [Presence.PRESENT] * 3
        assert len(calls) == 1

    def test_a_base_tag_that_moves_is_another_base(self, place):
        api = place.backend.engine.api
        name = f"prewarm-test-{uuid.uuid4().hex}"
        api.tag(os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"), name, "1")
        before = self.image(place.backend, f"{name}:1")
        captured = place.capture(shell("true"))
        api.tag(captured.ref.value["image"], name, "1")
        after = self.image(place.backend, f"{name}:1")
        api.remove_image(f"{name}:1")

        assert before.digest != after.digest
        assert after.digest == captured.ref.value["image"]

    def test_a_base_that_nobody_has_is_an_error_with_a_way_out(self, backend):
        with pytest.raises(UnkeyableInputError, match="not in the engine") as caught:
            self.image(backend, f"127.0.0.1:1/nothing-{uuid.uuid4().hex}:1")
        assert "docker pull" in caught.value.hint

    def test_a_root_filesystem_archive_is_a_base(self, place, tmp_path):
        archive = tmp_path / "root.tar"
        container = place.backend.engine.api.create_container(
            os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"), ["x"]
        )["Id"]
        archive.write_bytes(b"".join(place.backend.engine.api.export(container)))
        place.backend.engine.api.remove_container(container)
        base = place.backend.resolve_base(
            RootfsBase(path="root.tar"), project=tmp_path, platform=host_platform(), sha256=sha256
        )

        captured = place.publish(
            dataclasses.replace(place.request(shell("echo x > /workspace/x")), base=base, project=tmp_path)
        )

        assert place.text(place.open(captured), "cat /workspace/x") == "x"

    def test_a_base_whose_accounts_are_a_link_keeps_them(self, place):
        linked = place.capture(
            shell("sed s/:1000:/:7007:/ /etc/passwd > /opt/accounts && ln -sf ../opt/accounts /etc/passwd")
        )

        captured = place.capture(shell("true"), parent=linked)

        assert place.text(place.open(captured), "id -u") == "7007"

    def test_a_template_that_another_extends_stays(self, place):
        parent = place.capture(shell("echo 1 > /workspace/parent"))
        child = place.capture(shell("cat /workspace/parent"), parent=parent)

        with pytest.raises(TemplateInUseError, match="extended by"):
            place.backend.remove(parent.ref)
        place.backend.remove(child.ref)
        place.backend.remove(parent.ref)

    def test_a_hook_that_fails_leaves_no_container_and_no_image(self, place):
        before = self.leftovers(place.backend, place.namespace)
        request = place.request(shell("true"), hook(lambda sandbox: sandbox.run("exit 3")))

        with pytest.raises(Exception, match="exited 3"), place.backend.capture(request, RecordingObserver()):
            pass

        of_this = {"label": [f"dev.prewarm.key={request.key}"]}
        assert place.backend.engine.api.images(all=True, filters=of_this) == []
        assert self.leftovers(place.backend, place.namespace) == before
        assert not self.litter(place.backend, place.namespace)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestDockerSessions(OnDocker):
    """What is particular about sessions as containers."""

    def opened(self, place, template, **options):
        request = place.opening(template)
        return place.open(dataclasses.replace(request, options=dataclasses.replace(request.options, **options)))

    def test_a_session_is_locked_down(self, place, session):
        found = place.backend.engine.api.inspect_container(session.id)
        host = found["HostConfig"]

        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["Init"] is True
        assert host["NetworkMode"] == "none"
        assert place.text(session, "grep CapEff /proc/self/status").endswith("0000000000000000")
        assert place.text(session, "id -un") == "sandbox"
        assert len(found["Name"].lstrip("/")) <= 63

    def test_a_container_made_again_under_the_same_name_is_never_written_to(self, place, template):
        request = place.opening(template, "again")
        first = place.open(request)
        first.remove()
        second = place.open(request)

        time.sleep(0.6)
        with pytest.raises(SessionGoneError):
            first.files.write("/workspace/x", b"x")
        with pytest.raises(SessionGoneError):
            place.run(first, "touch /workspace/x")
        assert place.text(second, "ls /workspace").split() == ["seeded", "written"]

    def test_a_session_that_somebody_removes_just_now_is_gone_and_its_key_opens_another(self, place, template):
        opening = place.opening(template)
        for _ in range(3):
            first = place.open(opening)
            remover = threading.Thread(target=first.remove)
            remover.start()
            while remover.is_alive():
                with contextlib.suppress(SessionGoneError):
                    place.backend.attach(first.state())
            remover.join()

            remover = threading.Thread(target=place.open(opening).remove)
            remover.start()
            place.open(opening)
            remover.join()

    def test_a_stopped_session_is_started_again_with_its_files(self, place, session):
        session.files.write("/workspace/kept", b"1")
        place.backend.engine.api.stop(session.id, timeout=0)

        again = place.backend.attach(session.state())

        assert again.id == session.id
        assert again.files.read("/workspace/kept") == b"1"

    def test_a_state_that_names_a_container_of_somebody_else_is_refused(self, place, session):
        api = place.backend.engine.api
        other = api.create_container(os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest"), ["x"])["Id"]

        try:
            with pytest.raises(SessionStateError, match="no session of prewarm"):
                place.backend.attach({**session.state(), "container": other})
        finally:
            api.remove_container(other)

    def test_a_port_is_exposed_on_loopback_only(self, place, template):
        session = self.opened(place, template, network=Network.ALL, options={"expose": [8000]})
        server = place.start(session, "while :; do echo hello | nc -l -p 8000; done")

        host, port = session.expose(8000)

        assert host == "127.0.0.1"
        assert answer(host, port) == b"hello\n"
        server.kill()
        server.close()

    def test_a_mount_from_the_allow_list_is_read_only_unless_asked(self, place, template, context, tmp_path):
        (tmp_path / "data").write_text("from outside")
        tmp_path.chmod(0o755)
        options = {"mounts": [{"source": str(tmp_path), "target": "/mnt"}]}
        with pytest.raises(UnsupportedOptionError):
            self.opened(place, template, options=options)
        allowing = DockerBackend(
            dataclasses.replace(context, environment={**context.environment, "PREWARM_DOCKER_MOUNTS": str(tmp_path)})
        )
        request = place.opening(template)
        session = place.open(
            dataclasses.replace(request, options=dataclasses.replace(request.options, options=options)), allowing
        )

        assert place.text(session, "cat /mnt/data") == "from outside"
        assert place.run(session, "touch /mnt/x").exit_code != 0
        missing = {"mounts": [{"source": str(tmp_path / "missing"), "target": "/mnt"}]}
        with pytest.raises(SessionFailedError, match="does not exist"):
            place.open(
                dataclasses.replace(
                    request, session_key="other", options=dataclasses.replace(request.options, options=missing)
                ),
                allowing,
            )
        assert not (tmp_path / "missing").exists()
        allowing.close()

    def test_a_read_only_session_writes_to_its_memory_only(self, place, template):
        session = self.opened(place, template, options={"read_only": True, "tmpfs": {"/scratch": "16m"}})

        assert place.run(session, "touch /workspace/x").exit_code != 0
        assert place.text(session, "echo 1 > /scratch/x && cat /scratch/x") == "1"

    @pytest.mark.parametrize("read_only", [False, True])
    def test_files_in_memory_are_those_that_commands_see(self, place, template, read_only):
        options = {"read_only": read_only, "tmpfs": {"/scratch": "16m"}}
        session = self.opened(place, template, options=options)
        files = session.files

        files.write("/scratch/deep/er", b"from outside\0", mode=0o600)
        assert place.text(session, "cd /scratch; stat -c %a deep/er; wc -c < deep/er") == "600\n13"
        place.run(
            session, "echo inside > /scratch/-x; ln -s -- -x /scratch/link; mkdir /scratch/d; seq 9 > /scratch/d/n"
        )
        assert files.read("/scratch/-x") == files.read("/scratch/link") == b"inside\n"
        assert files.stat("/scratch/link").kind is FileKind.SYMLINK
        assert [one.path for one in files.list("/scratch")] == [
            f"/scratch/{name}" for name in ("-x", "d", "deep", "link")
        ]
        with tarfile.open(fileobj=io.BytesIO(b"".join(files.get_tree("/scratch/d")))) as tar:
            assert tar.getnames() == ["n"]
        with pytest.raises(SessionFileError, match="limit of 3"):
            files.read("/scratch/-x", limit=3)
        with pytest.raises(SessionFileNotFoundError):
            files.read("/scratch/none")
        files.rename("/scratch/-x", "/scratch/new/y")
        files.remove("/scratch/new", recursive=True)
        assert place.text(session, "ls /scratch") == "d\ndeep\nlink"
        if read_only:
            with pytest.raises(SessionFileError, match=r"(?i)read-only"):
                files.write("/workspace/x", b"")

    def test_a_session_can_have_another_runtime(self, place, template):
        if "runsc" not in place.backend.engine.api.info()["Runtimes"]:
            pytest.skip("the engine has no runtime 'runsc'")
        session = self.opened(place, template, options={"runtime": "runsc"})

        assert place.text(session, "cat seeded") == "a seed"
        assert place.text(session, "dmesg | grep -c gVisor") == "1"

    def test_a_runtime_that_the_engine_does_not_have_is_an_error(self, place, template):
        with pytest.raises(SessionFailedError, match="nonesuch") as caught:
            self.opened(place, template, options={"runtime": "nonesuch"})
        assert "docker info" in caught.value.hint

    def test_policy_changed_behind_our_back_is_put_right_at_attach(self, place, session):
        api = place.backend.engine.api
        api.disconnect_container_from_network(session.id, "none")
        api.connect_container_to_network(session.id, "bridge")

        again = place.backend.attach(session.state())

        assert place.run(again, "ip route | grep -q default").exit_code != 0

    def test_a_session_without_its_image_is_an_error_with_a_way_out(self, place):
        captured = place.capture(shell("true"))
        place.backend.remove(captured.ref)

        with pytest.raises(TemplateNotFoundError) as caught:
            place.open(captured)
        assert "prewarm build" in caught.value.hint

    def test_a_kill_finds_orphans_that_emptied_their_environment(self, place, session):
        running = place.start(
            session, "for i in 1 2 3; do (env -i setsid sh -c 'while :; do sleep 7331; done' &); done; sleep 7331"
        )
        place.await_line(session, "ps -o args | grep -cx 'sleep 7331'", "4")
        before = place.text(session, "ps -o pid,args | grep '[s]leep 7331'")

        running.kill()
        running.close()

        assert before.count("sleep 7331") >= 4
        assert place.run(session, "ps | grep '[s]leep 7331'").stdout == ""

    def test_names_that_are_not_text_are_listed_renamed_appended_to_and_removed(self, session):
        name = os.fsdecode(b"/workspace/n\xff\xfe")
        session.files.write(name, b"1")
        session.files.write(name, b"2", append=True)
        session.files.rename(name, name + "!")
        session.files.mkdir(name)
        session.files.write(f"{name}/inner", b"")

        assert session.files.read(name + "!") == b"12"
        assert {entry.path for entry in session.files.list("/workspace")} >= {name, name + "!"}
        assert [entry.path for entry in session.files.list(name)] == [f"{name}/inner"]
        session.files.remove(name, recursive=True)
        session.files.remove(name + "!")
        assert not {entry.path for entry in session.files.list("/workspace")} & {name, name + "!"}

    def test_a_link_that_leads_to_itself_is_an_error_of_that_file(self, place, session):
        place.run(session, "ln -s round /workspace/round")

        assert session.files.stat("/workspace/round").kind is FileKind.SYMLINK
        for call in (session.files.read, session.files.list, lambda path: session.files.write(path, b"")):
            with pytest.raises(SessionFileError, match="'/workspace/round' cannot be followed"):
                call("/workspace/round")
        session.files.remove("/workspace/round")
        assert "round" not in place.text(session, "ls /workspace")

    @pytest.mark.parametrize("accounts", ["../opt/accounts", "/dev/zero", "/nowhere", "passwd"])
    def test_files_are_written_whatever_became_of_the_accounts(self, place, session, accounts):
        api = place.backend.engine.api
        change = f"cp /etc/passwd /opt/accounts && ln -sf {accounts} /etc/passwd"
        api.exec_start(api.exec_create(session.id, ["/bin/sh", "-c", change], user="0")["Id"])

        again = place.backend.attach(session.state())
        again.files.write("/workspace/late", b"1")

        assert again.files.read("/workspace/late") == b"1"
        if accounts == "../opt/accounts":
            assert place.text(again, "stat -c %U /workspace/late") == "sandbox"


def answer(host, port):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2) as connection:
            if data := connection.recv(100):
                return data
        time.sleep(0.1)
    return b""
