#!/usr/bin/env bash
# A Chromium for the tests of the pages, where there is none and this machine allows one (Debian, root). Prints its path.
#
#   tests/browser/chromium.sh
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,4p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;; esac

find_chromium() {
    local name
    for name in "${SYNTHCT_CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$name" ] && command -v "$name"; then return 0; fi
    done
    return 1
}

if find_chromium; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "no Chromium is installed, and this machine lets none be installed (needs root on Debian); SYNTHCT_CHROMIUM names one" >&2
    exit 1
fi
echo "installing chromium (once) ..." >&2
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } > "$log" 2>&1 \
    || { tail -n 5 "$log" >&2; exit 1; }
find_chromium || { echo "apt-get installed chromium, but it is not on the PATH" >&2; exit 1; }
