#!/bin/bash
# Start and stop what the tests need beside Python: a Docker engine of their own, a registry, base images.
#
#   ci/services.sh up      fetch what is missing, start engine and registry, import the base images
#   ci/services.sh env     print the settings for the tests:  eval "$(ci/services.sh env)"
#   ci/services.sh down    stop both, take away everything but the cache of downloads
#
# Downloads are kept in ${PREWARM_TEST_CACHE:-~/.cache/prewarm-tests}; running things live in
# ${PREWARM_TEST_RUN:-/run/prewarm-tests}. Needs root and Debian or a relative of it. Docker comes from the Debian
# release named below and is unpacked into the cache, never installed: the machine's own Docker, if any, is not touched.
set -euo pipefail

cache=${PREWARM_TEST_CACHE:-$HOME/.cache/prewarm-tests}
run=${PREWARM_TEST_RUN:-/run/prewarm-tests}
engine_suite=trixie
base_suite=bookworm
data=${PREWARM_TEST_DATA:-$cache/data}
bridge=${PREWARM_TEST_BRIDGE_NAME:-prewarm0}  # "none": an engine without a network, for tests of faults
bridge_address=${PREWARM_TEST_BRIDGE:-172.31.241.1/24}
registry_port=${PREWARM_TEST_REGISTRY_PORT:-5957}
engine_packages="docker.io docker-cli docker-buildx containerd"
host_packages="runc iptables iproute2 tini busybox-static mmdebstrap docker-registry ca-certificates openssl openssh-client runsc"

say() { printf 'services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

engine_path="$cache/engine/usr/bin:$cache/engine/usr/sbin:$PATH:/usr/sbin:/sbin"

install_host_packages() {
  local missing=() package
  for package in $host_packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq >&2
  # A registry of our own is started below; the package's service stays off.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$run/apt.log" 2>&1 \
    || { tail -20 "$run/apt.log" >&2; die "cannot install ${missing[*]}"; }
}

# The archive that this machine itself uses: no host is written here.
archive() {
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 'debian/*$' || die "no Debian archive in apt's sources"
}

unpack_engine() {
  [ -e "$cache/engine/.complete" ] && return
  say "fetching the engine ($engine_packages) from $engine_suite"
  local apt="$cache/apt"
  rm -rf "$cache/engine" "$apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs" "$cache/engine"
  : >"$apt/status"
  echo "deb $(archive) $engine_suite main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
CONF
  (cd "$apt/debs" && export APT_CONFIG="$apt/apt.conf" && apt-get update -qq && apt-get download -qq $engine_packages) >&2
  local deb
  for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$cache/engine"; done
  rm -rf "$apt"
  ln -sf /usr/bin/tini-static "$cache/engine/usr/bin/docker-init"
  touch "$cache/engine/.complete"
}

# For ssh to an engine: unpacked, never installed, so that no server runs that nobody asked for.
unpack_sshd() {
  [ -e "$cache/sshd/.complete" ] && return
  say "fetching sshd"
  rm -rf "$cache/sshd" && mkdir -p "$cache/sshd/debs"
  (cd "$cache/sshd/debs" && apt-get download -qq -o APT::Sandbox::User=root openssh-server libwrap0) >&2
  local deb
  for deb in "$cache"/sshd/debs/*.deb; do dpkg -x "$deb" "$cache/sshd"; done
  rm -rf "$cache/sshd/debs"
  touch "$cache/sshd/.complete"
}

make_base_images() {
  mkdir -p "$cache/bases"
  if [ ! -e "$cache/bases/debian.tar" ]; then
    say "making a Debian $base_suite root filesystem"
    mmdebstrap --variant=minbase --include=ca-certificates --quiet "$base_suite" "$cache/bases/debian.part.tar" \
      "deb $(archive) $base_suite main" >&2
    mv "$cache/bases/debian.part.tar" "$cache/bases/debian.tar"
  fi
  if [ ! -e "$cache/bases/busybox-2.tar" ]; then
    local tree name
    tree=$(mktemp -d)
    mkdir -p "$tree"/{bin,sbin,etc,root,tmp,srv,opt,home,mnt,usr/bin,usr/sbin,usr/local/bin,var,proc,sys,dev}
    chmod 755 "$tree"; chmod 1777 "$tree/tmp"
    install -m 755 /bin/busybox "$tree/bin/busybox"
    for name in $("$tree/bin/busybox" --list); do [ "$name" = busybox ] || ln -s busybox "$tree/bin/$name"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$tree/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
    tar --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -C "$tree" -cf "$cache/bases/busybox-2.tar.part" .
    mv "$cache/bases/busybox-2.tar.part" "$cache/bases/busybox-2.tar"
    rm -rf "$tree"
  fi
}

# Killed and not yet collected by anybody is not alive.
running() { kill -0 "$1" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }
alive() { [ -s "$1" ] && running "$(cat "$1")"; }

start_engine() {
  alive "$run/docker.pid" && return
  rm -f "$run/docker.pid" "$run/docker.sock"
  local device mtu network=(--iptables=false)
  if [ "$bridge" != none ]; then
    network=()
    [ -e "$run/iptables.before" ] || iptables-save >"$run/iptables.before" 2>/dev/null || true
    ip link show "$bridge" >/dev/null 2>&1 || { ip link add "$bridge" type bridge; ip addr add "$bridge_address" dev "$bridge"; }
    ip link set "$bridge" up
  fi
  device=$(ip -o route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -1)
  mtu=$(cat "/sys/class/net/${device:-lo}/mtu")
  [ "$mtu" -le 1500 ] || mtu=1500
  mkdir -p "$data"
  local runtimes=()
  if command -v runsc >/dev/null; then
    # What Debian's runsc needs in a virtual machine with cgroups v1; sessions without a network only.
    printf '#!/bin/sh\nexec %s --network=none --ignore-cgroups --platform=ptrace "$@"\n' "$(command -v runsc)" >"$run/runsc"
    chmod 755 "$run/runsc"
    runtimes=(--add-runtime "runsc=$run/runsc")
  fi
  PATH=$engine_path setsid dockerd --host "unix://$run/docker.sock" --group root \
    --data-root "$data" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
    --bridge "$bridge" "${network[@]}" "${runtimes[@]}" --mtu "$mtu" --storage-driver overlay2 \
    --insecure-registry "127.0.0.1:$registry_port" ${PREWARM_TEST_DOCKERD_FLAGS:-} \
    >>"$run/dockerd.log" 2>&1 </dev/null &
  local attempt
  for attempt in $(seq 300); do
    client version >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -20 "$run/dockerd.log" >&2
  die "the engine does not come up"
}

start_registry() {
  [ "$registry_port" != 0 ] || return 0
  alive "$run/registry.pid" && return
  mkdir -p "$run/registry"
  cat >"$run/registry.yml" <<CONF
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $run/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$registry_port"}
CONF
  setsid docker-registry serve "$run/registry.yml" >"$run/registry.log" 2>&1 </dev/null &
  echo $! >"$run/registry.pid"
}

client() { DOCKER_HOST="unix://$run/docker.sock" DOCKER_CONFIG="$run/config" PATH=$engine_path "$cache/engine/usr/bin/docker" "$@"; }

import_bases() {
  [ "$bridge" = none ] || client image inspect prewarm-test/debian:bookworm >/dev/null 2>&1 \
    || client import "$cache/bases/debian.tar" prewarm-test/debian:bookworm >/dev/null
  client image inspect prewarm-test/busybox:2 >/dev/null 2>&1 \
    || client import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
         "$cache/bases/busybox-2.tar" prewarm-test/busybox:2 >/dev/null
}

stop() {
  local pid attempt
  [ -s "$1" ] || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || { rm -f "$1"; return 0; }
  for attempt in $(seq 200); do running "$pid" || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$1"
}

up() {
  [ "$(id -u)" = 0 ] || die "starting an engine needs root"
  mkdir -p "$cache" "$run/config/cli-plugins"
  chmod 700 "$run"
  [ -e "$run/config/config.json" ] || echo '{}' >"$run/config/config.json"
  install_host_packages
  unpack_engine
  unpack_sshd
  make_base_images
  # Tests that want it skip where it cannot be made, or fail where they are told to require it.
  timeout 1200 "$(dirname "$0")/buildkitd.sh" "$cache/buildkitd" || say "there is no buildkitd"
  ln -sf "$cache/engine/usr/libexec/docker/cli-plugins/docker-buildx" "$run/config/cli-plugins/docker-buildx"
  start_engine
  start_registry
  import_bases
  say "up: engine $(client version --format '{{.Server.Version}}'), registry on 127.0.0.1:$registry_port"
}

down() {
  stop "$run/registry.pid"
  # Containers first: their shims would outlive the engine.
  if alive "$run/docker.pid"; then
    local containers
    containers=$(client ps -aq || true)
    [ -z "$containers" ] || client rm -f $containers >/dev/null || true
  fi
  stop "$run/docker.pid"
  local process  # A step of a build outlives an engine that was killed. Its root lies on the engine's store.
  for process in /proc/[0-9]*; do
    head -n 1 "$process/mountinfo" 2>/dev/null | grep -qF "dir=$data/" || continue
    kill -9 "${process#/proc/}" 2>/dev/null || true
  done
  [ "$bridge" = none ] || ip link del "$bridge" 2>/dev/null || true
  # Where there was no other Docker, none of its rules stays, nor the policy that it sets.
  if [ -e "$run/iptables.before" ] && ! grep -q DOCKER "$run/iptables.before"; then
    iptables-save | grep -v -e DOCKER -e "$bridge" | sed 's/^:FORWARD DROP/:FORWARD ACCEPT/' | iptables-restore || true
  fi
  local mount
  for mount in $(awk -v root="$run/" -v data="$data/" 'index($2, root) == 1 || index($2, data) == 1 {print $2}' /proc/mounts | sort -r); do
    umount "$mount" 2>/dev/null || true
  done
  rm -rf "$run"
  rm -rf "$data" 2>/dev/null || rm -rf "${data:?}"/*  # A mount point stays.
}

environment() {
  cat <<CONF
export DOCKER_HOST='unix://$run/docker.sock'
export DOCKER_CONFIG='$run/config'
export PATH='$cache/engine/usr/bin':"\$PATH"
export PREWARM_TEST_REGISTRY='127.0.0.1:$registry_port'
export PREWARM_TEST_DEBIAN='prewarm-test/debian:bookworm'
export PREWARM_TEST_BUSYBOX='prewarm-test/busybox:2'
export PREWARM_TEST_BUILDKITD='$cache/buildkitd'
export PREWARM_TEST_SSHD='$cache/sshd'
export PREWARM_TEST_ENGINE_PID='$run/docker.pid'
CONF
}

case "${1:-}" in
  up) up ;;
  down) down ;;
  env) environment ;;
  start-engine) start_engine ;;
  *) die "usage: ci/services.sh up | down | env | start-engine" ;;
esac
