#!/bin/bash
# Make a buildkitd for the tests, and the buildctl that goes with it:  ci/buildkitd.sh DIRECTORY
#
# BuildKit's own images are in a registry that not every machine reaches, and Debian has no package of the program. It has
# its source, though, in what docker.io is made of, and everything to compile it with: so that is done, once, in about two
# minutes of processor time. Nothing is installed: all is unpacked in DIRECTORY and taken away again but for the programs.
set -euo pipefail

directory=$1
suite=trixie
# What `go list -deps ./cmd/buildkitd ./cmd/buildctl` names; the rest is in the vendor directory of BuildKit's source.
libraries="agext-levenshtein appc-cni armon-circbuf aws-aws-sdk-go-v2 aws-smithy-go beorn7-perks cenkalti-backoff
  cespare-xxhash containerd-console containerd-containerd containerd-continuity containerd-errdefs containerd-fifo
  containerd-go-cni containerd-go-runc containerd-log containerd-platforms containerd-ttrpc containerd-typeurl
  coreos-bbolt coreos-go-systemd dimchansky-utfbom distribution-reference docker-docker-credential-helpers docker-docker
  docker-go-connections docker-go-events docker-go-metrics docker-go-units felixge-httpsnoop go-logr-logr go-logr-stdr
  gofrs-flock gogo-googleapis gogo-protobuf golang-groupcache golang-jwt-jwt golang-protobuf-1-5 google-go-cmp
  google-shlex google-uuid grpc-ecosystem-grpc-gateway hashicorp-errwrap hashicorp-go-immutable-radix
  hashicorp-go-multierror hashicorp-golang-lru in-toto-in-toto-golang klauspost-compress mitchellh-hashstructure
  moby-docker-image-spec moby-locker moby-patternmatcher moby-sys morikuni-aec munnerz-goautoneg
  opencontainers-go-digest opencontainers-image-spec opencontainers-selinux opencontainers-specs pelletier-go-toml
  pkg-errors prometheus-client-golang prometheus-client-model prometheus-common prometheus-procfs
  secure-systems-lab-go-securesystemslib shibumi-go-pathspec sirupsen-logrus tonistiigi-units vbatts-tar-split
  vishvananda-netlink vishvananda-netns"
others="golang-golang-x-crypto-dev golang-golang-x-net-dev golang-golang-x-sync-dev golang-golang-x-sys-dev
  golang-golang-x-text-dev golang-golang-x-time-dev golang-google-genproto-dev golang-google-grpc-dev
  golang-google-protobuf-dev golang-opentelemetry-contrib-dev golang-opentelemetry-otel-dev
  golang-opentelemetry-proto-dev golang-github-tonistiigi-fsutil-dev golang-1.24-go golang-1.24-src"

mkdir -p "$directory"
exec 9>"$directory/.lock"
flock 9
[ -e "$directory/.complete" ] && exit
echo "buildkitd: compiling it from Debian's sources ($suite); once" >&2
work="$directory/work"
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,archives/partial,debs,tree}
: >"$work/status"
archive=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 'debian/*$')
printf 'deb %s %s main\ndeb-src %s %s main\n' "$archive" "$suite" "$archive" "$suite" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$work";
Dir::State::status "$work/status";
Dir::Cache "$work";
APT::Sandbox::User "root";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update -qq >&2
cd "$work/debs"
apt-get download -qq $(printf 'golang-github-%s-dev ' $libraries) $others >&2
for deb in *.deb; do dpkg -x "$deb" "$work/tree"; done

# Debian's packages carry BuildKit's source with Debian's patches; what they leave out is in its source archive.
cd "$work"
read -r address name _ checksum < <(apt-get source --print-uris docker.io 2>/dev/null | tr -d "'" | grep 'orig-buildkit')
/usr/lib/apt/apt-helper -qq download-file "$address" "$work/$name" "$checksum" >&2
mkdir -p "$work/gopath/src/github.com/moby"
cp -a "$work/tree/usr/share/gocode/src/github.com/moby/buildkit" "$work/gopath/src/github.com/moby/"
cd "$work/gopath/src/github.com/moby"
tar -xf "$work/$name" --wildcards '*buildkit/vendor/*' '*buildkit/go.mod'
cd buildkit
export GOROOT="$work/tree/usr/lib/go-1.24" GOPATH="$work/gopath:$work/tree/usr/share/gocode" GOCACHE="$work/cache"
export GO111MODULE=off GOTOOLCHAIN=local GOTMPDIR="$work" CGO_ENABLED=0
package=github.com/moby/buildkit/version
"$GOROOT/bin/go" build -o "$directory/" -ldflags "-s -w -X $package.Version=v0-debian -X $package.Revision=$name" \
  ./cmd/buildkitd ./cmd/buildctl >&2
touch "$directory/.complete"
