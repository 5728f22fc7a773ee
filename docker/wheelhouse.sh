#!/usr/bin/env bash
# Fills a wheelhouse for builds without a network: every locked package, checked by its hash, and torch from where pip is led.
#
#   docker/wheelhouse.sh DIR [algorithm|evaluation|torch]...   default: algorithm evaluation; `torch` fetches torch alone
#
# PYTHON names the interpreter: the same minor version as in the base image, on Linux (x86-64). pip's own settings lead to other indexes.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
[ $# -gt 0 ] || { sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
target="$1"
shift
[ $# -gt 0 ] || set -- algorithm evaluation
python="${PYTHON:-python3}"
mkdir -p "$target"
fetch() { "$python" -m pip download --quiet --disable-pip-version-check --dest "$target" "$@"; }
for kind in "$@"; do
    case "$kind" in
        algorithm | evaluation)
            fetch --constraint "$root/../constraints.txt" --requirement "$root/requirements/torch-$kind.txt"
            fetch --no-deps --require-hashes --requirement "$root/requirements/$kind.txt"
            fetch --constraint "$root/../constraints.txt" setuptools wheel # to build ours, and packages that come as source
            ;;
        torch) fetch --no-deps --requirement "$root/requirements/torch-algorithm.txt" ;;
        *) echo "error: '$kind' is unknown; expected algorithm, evaluation or torch" >&2; exit 2 ;;
    esac
done
