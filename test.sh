#!/usr/bin/env bash
# Sets up and runs every test, lint and type check; arguments go to pytest. SYNTHCT_DATA or --data DIR names the real data
# (default: ../shared/data). As root on Debian a Docker engine and Chromium are installed where there is none. The summary says how many tests
# were skipped and why.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,4p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup.sh
setup_venv evaluation totalsegmentator report platform train dev
# container tests are skipped only where no Docker engine answers and none may be started
if [ "$(docker/engine.sh start || true)" = started ]; then trap 'docker/engine.sh stop' EXIT; fi
# browser tests are skipped only where there is no Chromium and none may be installed
tests/browser/chromium.sh > /dev/null || true
# two processes of one thread each: most tests start short processes or use tiny networks
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONPATH=
python -m pytest --numprocesses "${SYNTHCT_TEST_PROCESSES:-2}" --dist loadfile "$@"
