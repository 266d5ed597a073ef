#!/usr/bin/env bash
# Install what the tests need of Debian beside the Docker engine (services.sh sees to that). Needs root; quiet if all is there.
set -euo pipefail
packages="busybox-static util-linux"
missing=()
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "packages: installing ${missing[*]}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
