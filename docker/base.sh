#!/usr/bin/env bash
# Makes a small base image with Python where no image registry can be reached: Debian by debootstrap, taken in by `docker import`.
# It is labelled "for tests": without CUDA libraries and security updates of its own it is not what one uploads.
#
#   docker/base.sh [TAG]     default synthct-base:bookworm; needs root, debootstrap and Debian's package mirror
set -euo pipefail
tag="${1:-synthct-base:bookworm}"
[ "$(id -u)" = 0 ] || { echo "error: debootstrap needs root" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "error: debootstrap was not found; apt-get install debootstrap" >&2; exit 1; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/tree" \
    "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" > "$folder/log" 2>&1 ||
    { tail -n 5 "$folder/log" >&2; echo "error: debootstrap failed" >&2; exit 1; }
# The build downloads packages through whatever this machine trusts.
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/tree/etc/ssl/certs/ca-certificates.crt"
rm -rf "$folder"/tree/var/cache/apt/archives/*.deb "$folder"/tree/var/lib/apt/lists/*
tar -C "$folder/tree" -c . | docker import --change 'LABEL synthct.base="for tests"' --change 'CMD ["python3"]' - "$tag" > /dev/null
echo "$tag"
