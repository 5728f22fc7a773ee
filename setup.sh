# Sourced by demo.sh and test.sh: makes .venv beside this file and installs SynthCT with the given extras.
# What was installed is noted in .venv/installed-<key>-<extra>, so that a second run needs no network.

setup_venv() { # extra...
    local root python key extra missing=()
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
    python="${PYTHON:-$(command -v python3.11 || command -v python3 || true)}"
    if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "error: found ${python:-no Python}; expected Python 3.11 or newer (PYTHON=/path/to/python3.11 ./demo.sh)" >&2
        return 1
    fi
    key="$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum | cut -d' ' -f1)"
    for extra in "$@"; do
        [ -e "$root/.venv/installed-$key-$extra" ] || missing+=("$extra")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "setting up .venv (once; needs the network, a few minutes) ..." >&2
        "$python" -m venv "$root/.venv" || return 1
        "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$root/constraints.txt" --editable "$root[$(IFS=,; echo "$*")]" || return 1
        for extra in "$@"; do
            touch "$root/.venv/installed-$key-$extra"
        done
    fi
    PATH="$root/.venv/bin:$PATH"
}
