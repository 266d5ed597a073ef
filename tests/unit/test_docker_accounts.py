"""Users of an image: found by name or number, added without running anything."""

import pytest

from prewarm.backends.docker.accounts import Account, Accounts
from prewarm.errors import CaptureFailedError

PASSWD = "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/sh\n"
GROUP = "root:x:0:\nnode:x:1000:\nwheel:x:10:\n"


def test_a_user_is_found_by_name_and_by_number():
    accounts = Accounts(passwd=PASSWD, group=GROUP)

    assert accounts.find("node") == Account(name="node", uid=1000, gid=1000, home="/home/node")
    assert accounts.find("1000") == accounts.find("node")
    assert accounts.find("1000:wheel") == Account(name="node", uid=1000, gid=10, home="/home/node")
    assert accounts.find("4711:4712") == Account(name="4711", uid=4711, gid=4712, home="/")


def test_a_name_that_nobody_has_is_not_found():
    assert Accounts(passwd=PASSWD, group=GROUP).find("sandbox") is None


def test_root_is_known_to_an_image_without_files():
    assert Accounts().find("root") == Account(name="root", uid=0, gid=0, home="/root")


def test_a_group_that_nobody_has_is_an_error():
    with pytest.raises(CaptureFailedError, match="no group 'sudo'"):
        Accounts(passwd=PASSWD, group=GROUP).find("node:sudo")


def test_the_first_user_added_is_1000():
    accounts, user = Accounts(passwd="root:x:0:0:root:/root:/bin/sh\n", group="root:x:0:\n").with_user("sandbox")

    assert (user.uid, user.gid, user.home) == (1000, 1000, "/home/sandbox")
    assert accounts.passwd.splitlines()[-1] == "sandbox:x:1000:1000::/home/sandbox:/bin/sh"
    assert accounts.group.splitlines()[-1] == "sandbox:x:1000:"
    assert accounts.find("sandbox") == user


def test_a_number_in_use_is_passed_over():
    _, user = Accounts(passwd=PASSWD, group=GROUP).with_user("sandbox")

    assert user.uid == 1001


def test_a_last_line_without_an_end_is_kept_whole():
    accounts, _ = Accounts(passwd=PASSWD.rstrip("\n"), group=GROUP.rstrip("\n"), shadow="root:*:1::::::").with_user("u")

    assert "node:x:1000:1000::/home/node:/bin/sh\nu:" in accounts.passwd
    assert accounts.shadow is not None
    assert accounts.shadow.splitlines() == ["root:*:1::::::", "u:!:19000:0:99999:7:::"]
