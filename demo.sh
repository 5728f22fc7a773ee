#!/usr/bin/env bash
# Sets up and does the main job: MR in, synthetic CT out, scored against the CT, ranked against the yardstick.
#
#   ./demo.sh                 three phantom cases (simulated)
#   ./demo.sh --data DIR      a SynthRAD-style folder of yours, cases with mr, ct and mask
#   ./demo.sh --output DIR    where the results go (default: demo-output)
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")"
began=$SECONDS
data="" output="demo-output"
from_caller() { # option path: the path seen from where the user stands
    [ -n "${2:-}" ] || { echo "error: $1 needs a folder" >&2; exit 2; }
    case "$2" in /*) echo "$2" ;; *) echo "$caller/$2" ;; esac
}
while [ $# -gt 0 ]; do
    case "$1" in
        --data) data="$(from_caller "$1" "${2:-}")" || exit 2; shift 2 ;;
        --output) output="$(from_caller "$1" "${2:-}")" || exit 2; shift 2 ;;
        -h | --help) sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
        *) echo "error: unknown option $1; expected --data DIR or --output DIR" >&2; exit 2 ;;
    esac
done
. ./setup.sh
setup_venv evaluation report
ready=$SECONDS

if [ -z "$data" ]; then
    data="$output/phantoms"
    echo "1/4 making three phantom limbs (simulated) ..."
    synthct sample "$data" --kind limb --cases 3 --seed 7
else
    echo "1/4 using the cases in $data"
fi
rm -rf "$output/predictions" "$output/scores" "$output/leaderboard"  # of an earlier demo
entrants=(nnresunet-afp pix2pix-pelvis spade-afp creps-cgan lookup-table)
for entrant in "${entrants[@]}"; do
    echo "2/4 $entrant: predicting ..."
    synthct predict "$entrant" "$data" "$output/predictions/$entrant" --starter
    echo "3/4 $entrant: scoring ..."
    synthct evaluate "$output/predictions/$entrant" "$data" "$output/scores/$entrant" --segmenter tissue --pictures
    synthct report "$output/predictions/$entrant" "$data" "$output/leaderboard/entries/$entrant/report" --metrics "$output/scores/$entrant"
done
echo "4/4 ranking ..."
synthct leaderboard "${entrants[@]/#/$output/scores/}" --output "$output/leaderboard" --scores strict

echo
echo "synthetic CTs:  $output/predictions/<entrant>/<case>.mha"
echo "scores:         $output/scores/<entrant>/metrics.json"
echo "pictures:       $output/scores/<entrant>/<case>.png  (input, sCT, CT, difference)"
echo "ranking:        $output/leaderboard/leaderboard.json (.csv, .md)"
echo "to look at:     $output/leaderboard/index.html  (works offline; the cases' pages show the volumes)"
printf 'done in %d min %d s, of which %d s set-up. Starter weights: a demonstration, not a medical device.\n' \
    $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) $((ready - began))
