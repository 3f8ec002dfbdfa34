#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what graphrun is built with on Debian 12, and with the argument `tests` also what its tests need. Packages
# that are there already are left alone; with all of them there it needs neither root nor a network.
set -eu
packages="gcc libc6-dev make cmake libdnnl-dev libprotobuf-c-dev protobuf-c-compiler zlib1g-dev"
[ "${1:-}" != tests ] || packages="$packages libcunit1-dev python3 python3-venv ca-certificates"

if ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is no Debian; install the equivalents of: $packages" >&2
    exit 1
fi
missing=
for package in $packages; do
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || echo none) in
    ii*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
    root="sudo"
    command -v sudo >/dev/null || { echo "setup.sh: run as root, or install sudo; missing:$missing" >&2; exit 1; }
fi
$root env DEBIAN_FRONTEND=noninteractive apt-get update -q
# shellcheck disable=SC2086 # several words on purpose
$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
