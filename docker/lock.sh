#!/usr/bin/env bash
# Writes docker/requirements/{algorithm,evaluation}.txt anew: every package that an image needs, by version (constraints.txt) and hash.
# torch and torchvision stand apart (torch-*.txt): their hash differs with the base. Needs pip-tools, which ./test.sh installs, and minutes.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="$root/.venv/bin:$PATH"
command -v pip-compile > /dev/null || { echo "error: pip-compile was not found; expected ./test.sh to have set up .venv" >&2; exit 1; }
for kind in algorithm evaluation; do
    extras=()
    [ "$kind" = algorithm ] || extras=(--extra evaluation --extra totalsegmentator)
    echo "locking $kind ..." >&2
    pip-compile --quiet --strip-extras --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --no-emit-trusted-host --unsafe-package torch --unsafe-package torchvision --unsafe-package setuptools \
        "${extras[@]}" --constraint "$root/constraints.txt" --output-file "$root/docker/requirements/$kind.txt" "$root/pyproject.toml" 2> /dev/null
    sed -i '/^$/,$d' "$root/docker/requirements/$kind.txt" # the packages that stand apart, as comments
done
