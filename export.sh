#!/usr/bin/env bash
# Writes what one uploads to Grand Challenge: the image, the weights or the ground truth, checksums, and the steps in words.
#
#   ./export.sh NAME [--model DIR] [--output DIR]                  an algorithm by name, or any image by its tag (name:version)
#   ./export.sh evaluation --ground-truth DIR [--model DIR] [--output DIR]
#
#   --model DIR          weights, packed without a top folder; the platform unpacks them to /opt/ml/model
#   --ground-truth DIR   made by `synthct prepare SRC DIR --to ground-truth`; unpacked to /opt/ml/input/data/ground_truth
#   --no-image           the tarballs alone: new weights need no new image
#   --output DIR         default: dist
set -euo pipefail
export LC_ALL=C
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
fail() { echo "error: $1" >&2; exit "${2:-2}"; }
tar="$(command -v gtar || command -v tar)"
[[ "$("$tar" --version 2> /dev/null)" = *GNU* ]] || fail "$tar is no GNU tar; expected one (macOS: brew install gnu-tar)"
for tool in sha256sum gzip find sort; do
    command -v "$tool" > /dev/null || fail "$tool was not found; expected it on the PATH (macOS: brew install coreutils)"
done

name="" model="" ground_truth="" output="dist" with_image=1
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
        --no-image) with_image=""; shift; continue ;;
        --*) [ $# -gt 1 ] || fail "$1 needs a value (./export.sh --help)" ;;
    esac
    case "$1" in
        --model) model="$2"; shift 2 ;;
        --ground-truth) ground_truth="$2"; shift 2 ;;
        --output) output="$2"; shift 2 ;;
        --*) fail "unknown option $1 (./export.sh --help)" ;;
        *) [ -z "$name" ] || fail "got $name and $1; expected one name"; name="$1"; shift ;;
    esac
done
[ -n "$name" ] || fail "no name; expected an algorithm, evaluation or an image's tag (./export.sh --help)"
command -v docker > /dev/null || fail "docker was not found; expected it on the PATH" 1
version="$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")"
case "$name" in
    *:*) image="$name" ;;
    *) image="synthct-$name:$version" ;;
esac
told="$(docker info 2>&1 > /dev/null)" || fail "no Docker engine answers: $(tail -n 1 <<< "$told")" 1
[ -n "$with_image$model$ground_truth" ] || fail "--no-image leaves nothing to write; expected --model or --ground-truth"
docker image inspect "$image" > /dev/null 2>&1 || fail "$image: no such image; expected ./build.sh $name to have built it" 3
label() { docker image inspect --format "{{index .Config.Labels \"$1\"}}" "$image"; }
title="$(label org.opencontainers.image.title)"
case "$title" in # whose image it is
    "synthct evaluation") kind=evaluation ;;
    "synthct "*) kind=algorithm ;;
    *) kind=other ;;
esac
[ -z "$model" ] || [ -d "$model" ] || fail "$model: no such folder; expected a model folder" 3
folds() { # folder: the members of an ensemble, whose folder has no card of its own
    local inner
    if [ ! -e "$1/model.json" ]; then
        for inner in "$1"/fold_*; do
            if [[ -d "$inner" && "${inner##*/}" =~ ^fold_(0|[1-9][0-9]{0,3})$ ]]; then echo "$inner"; fi
        done
    fi
}
[ -z "$model" ] || [ -e "$model/model.json" ] || [ -e "$model/routes.json" ] || [ $kind != algorithm ] ||
    [ -n "$(folds "$model")" ] || fail "$model: holds neither model.json nor routes.json nor fold_0, fold_1, ...; expected a model folder" 3
[ -z "$ground_truth" ] || [ $kind != algorithm ] || fail "--ground-truth $ground_truth is an evaluation's; $image is an algorithm"
if [ $kind = algorithm ] && [ -n "$model" ]; then
    values() { sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*/\1/p" "$2"; }
    while IFS= read -r card; do
        of="$(values algorithm "$card" | head -n 1)"
        [[ ",${title#synthct }," = *",$of,"* ]] || fail "$card: is a model of ${of:-nothing}; expected one of ${title#synthct }" 4
    done < <(find -L "$model" -name model.json)
    whole() { # folder: refuses an ensemble with a fold whose training is not over
        local folder file
        while IFS= read -r folder; do
            for file in model.json weights.safetensors; do
                [ -e "$folder/$file" ] || fail "$folder: holds no $file; expected every fold of the ensemble to be trained" 4
            done
        done < <(folds "$1")
    }
    if [ ! -e "$model/routes.json" ]; then
        whole "$model"
    else
        while IFS= read -r target; do
            [ -e "$model/$target/model.json" ] || [ -n "$(folds "$model/$target")" ] ||
                fail "$model/routes.json: leads to $target, which holds no model.json" 4
            whole "$model/$target"
        done < <(tr ',{}' '\n' < "$model/routes.json" | sed -n 's/.*:[[:space:]]*"\([^"]*\)".*/\1/p')
    fi
fi
[ -z "$ground_truth" ] || { [ -d "$ground_truth/ct" ] && [ -d "$ground_truth/mask" ]; } ||
    fail "$ground_truth: holds no ct/ and mask/; expected a folder made by synthct prepare --to ground-truth" 3

[ "$(label synthct.base)" != "for tests" ] ||
    echo "warning: $image stands on the base for tests; build on a maintained base before you upload it" >&2
case "$(docker image inspect --format '{{.Config.User}}' "$image")" in
    "" | root | root:* | 0 | 0:*) fail "$image: runs as root; the platform refuses it (expected a USER in its Dockerfile)" 6 ;;
esac
[ "$(docker image inspect --format '{{.Architecture}}' "$image")" = amd64 ] || fail "$image: is not built for amd64; the platform refuses it" 6

mkdir -p "$output" || fail "$output: cannot be made" 3
stem="$(basename "${image%:*}")"
partial="$output/.partial"
rm -rf "$partial"
mkdir "$partial"
trap 'rm -rf "$partial"' EXIT
squeeze() { if command -v pigz > /dev/null; then pigz -n; else gzip -n; fi; }
pack() { # folder file [find tests]: its files without a top folder, links followed, readable by every user
    local folder="$1" file="$2"
    shift 2
    (cd "$folder" && find -L . -name .partial -prune -o -type f "$@" -print0 | sort -z |
        "$tar" -c --null --no-recursion --owner=0 --group=0 --mode=a+rX --dereference --files-from=-) | squeeze > "$partial/$file"
}
# of a training's folder the weights and their papers, not its checkpoints
model_files=(\( -name model.json -o -name weights.safetensors -o -name routes.json -o -name README.md \))
[ $kind = algorithm ] || model_files=() # other people know what theirs need
files=()
if [ -n "$with_image" ]; then
    echo "saving $image (minutes for a large one) ..." >&2
    docker save "$image" | squeeze > "$partial/$stem.tar.gz"
    files+=("$stem.tar.gz")
fi
if [ -n "$model" ]; then pack "$model" "$stem-model.tar.gz" "${model_files[@]}"; files+=("$stem-model.tar.gz"); fi
if [ -n "$ground_truth" ]; then pack "$ground_truth" "$stem-ground-truth.tar.gz" ! -name ground_truth.tar.gz; files+=("$stem-ground-truth.tar.gz"); fi
sums="$stem.sha256"
[ -n "$with_image" ] || sums="${files[0]%.tar.gz}.sha256" # the image's own stays as it is
(cd "$partial" && sha256sum "${files[@]}" > "$sums")
for file in "${files[@]}" "$sums"; do mv "$partial/$file" "$output/$file"; done

echo
echo "In $output:"
for file in "${files[@]}"; do printf '  %-44s %8.2f MB\n' "$file" "$(wc -c < "$output/$file" | awk '{print $1 / 1e6}')"; done
echo "  $sums"
echo
written() { if [ -e "$output/$1" ]; then echo " (in $output)"; fi; }
if [ $kind = evaluation ]; then
    echo "Upload, as an editor of the challenge:"
    echo "  1. Phase -> Evaluation methods -> Add a method: $stem.tar.gz$(written "$stem.tar.gz")"
    echo "  2. Phase -> Ground truths -> Upload: $stem-ground-truth.tar.gz$(written "$stem-ground-truth.tar.gz"); it is unpacked to /opt/ml/input/data/ground_truth"
    echo "  3. Weights of the judge: in the ground truth's folder totalsegmentator/, or as a model tarball (--model DIR)"
    echo "  4. Leaderboard columns: aggregates.mae.mean, aggregates.psnr.mean, aggregates.ms_ssim.mean, aggregates.DICE.mean, aggregates.HD95.mean"
    options=(--kind evaluation)
else
    echo "Upload, as an editor of the algorithm (there is no API for uploads):"
    echo "  1. Algorithm -> Containers -> Upload: $stem.tar.gz$(written "$stem.tar.gz"); wait until it is active (it is checked first, which takes minutes)"
    echo "  2. Algorithm -> Models -> Upload: $stem-model.tar.gz$(written "$stem-model.tar.gz"); without it the container ends with exit code 4"
    echo "  3. Algorithm -> Try-out, with one case; or: synthct try-out SLUG CASE"
    echo "  4. Challenge -> Submit, once the try-out has succeeded"
    options=()
fi
checked="$image"
[ ! -e "$output/$stem.tar.gz" ] || checked="$output/$stem.tar.gz"
[ -z "$model" ] || options+=(--model "$output/$stem-model.tar.gz")
[ -z "$ground_truth" ] || options+=(--ground-truth "$output/$stem-ground-truth.tar.gz")
echo "The same file cannot be uploaded twice. Check it beforehand:"
echo "  synthct check $(printf '%q ' "$checked" "${options[@]}")"
