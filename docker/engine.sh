#!/usr/bin/env bash
# A Docker engine for builds and tests, where there is none and this machine allows one (Debian, root).
#
#   docker/engine.sh start    uses the engine that answers; else installs docker.io, starts dockerd in the background and says "started"
#   docker/engine.sh stop     stops the engine that `start` started; others are left alone
set -euo pipefail
state="${SYNTHCT_ENGINE_STATE:-/run/synthct-engine}"

start() {
    if docker info > /dev/null 2>&1; then return 0; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "no Docker engine answers, and this machine lets none be installed (needs root on Debian)" >&2
        return 1
    fi
    if ! command -v dockerd > /dev/null || ! command -v iptables > /dev/null || ! command -v debootstrap > /dev/null; then
        echo "installing docker.io (once) ..." >&2
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io iptables debootstrap; } \
            > /tmp/synthct-engine-install.log 2>&1 || { tail -n 5 /tmp/synthct-engine-install.log >&2; return 1; }
    fi
    mkdir -p "$state"
    setsid dockerd > "$state/log" 2>&1 < /dev/null &
    echo $! > "$state/pid"
    for _ in $(seq 60); do
        if docker info > /dev/null 2>&1; then echo started; return 0; fi
        kill -0 "$(cat "$state/pid")" 2> /dev/null || break
        sleep 1
    done
    tail -n 5 "$state/log" >&2
    echo "dockerd did not start; its log is $state/log" >&2
    return 1
}

stop() {
    if [ -e "$state/pid" ]; then
        local pid
        pid="$(cat "$state/pid")"
        # a number that was given to another process since is left alone
        if [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = dockerd ]; then kill "$pid"; fi
        rm -rf "$state"
    fi
}

case "${1:-}" in
    start | stop) "$1" ;;
    *) sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
