#!/usr/bin/env bash
# Builds container images for Grand Challenge; needs only Docker.
#
#   ./build.sh NAME... | all            algorithms by name, and `evaluation`; tagged synthct-<name>:<version>
#   ./build.sh --algorithms A,B --tag T one image that holds several: routes.json in the model folder leads each case to its model
#
#   --api exec|invoke    one process per case (default), or a server on port 4743
#   --base IMAGE         another base: Linux with Python 3.11 or newer
#   --tag TAG            another tag, where one image is built
#   --wheelhouse DIR     packages that are taken before the network is asked (docker/wheelhouse.sh DIR fills one)
#   --offline            packages from the wheelhouse alone
#   --certificates DIR   CA certificates (*.crt) to trust while packages are downloaded
#   --torch-index URL    package index for torch ('' for none)
set -euo pipefail
export LC_ALL=C
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
fail() { echo "error: $1" >&2; exit 2; }
[ "${BASH_VERSINFO[0]}" -ge 4 ] || fail "this is bash $BASH_VERSION; expected 4.4 or newer (macOS: brew install bash gnu-tar)"
tar="$(command -v gtar || command -v tar)"
[[ "$("$tar" --version 2> /dev/null)" = *GNU* ]] || fail "$tar is no GNU tar; expected one (macOS: brew install gnu-tar)"

known=() # each folder of algorithms/ with an about.py
for about in "$root"/algorithms/*/about.py; do
    folder="$(basename "$(dirname "$about")")"
    known+=("${folder//_/-}")
done

names=() together="" offline="" api=exec base="" tag="" wheelhouse="$root/docker/wheelhouse" certificates="$root/docker/certificates" options=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
        --offline) offline=1; options+=(--build-arg OFFLINE=1); shift; continue ;;
        --*) [ $# -gt 1 ] || fail "$1 needs a value (./build.sh --help)" ;;
    esac
    case "$1" in
        --algorithms) together="$2"; shift 2 ;;
        --api) api="$2"; shift 2 ;;
        --base) base="$2"; shift 2 ;;
        --tag) tag="$2"; shift 2 ;;
        --wheelhouse) wheelhouse="$2"; shift 2 ;;
        --certificates) certificates="$2"; shift 2 ;;
        --torch-index) options+=(--build-arg "TORCH_INDEX=$2"); shift 2 ;;
        --*) fail "unknown option $1 (./build.sh --help)" ;;
        *) names+=("$1"); shift ;;
    esac
done
[ "$api" = exec ] || [ "$api" = invoke ] || fail "--api $api; expected exec or invoke"
[ -d "$wheelhouse" ] || fail "--wheelhouse $wheelhouse: no such folder"
[ -d "$certificates" ] || fail "--certificates $certificates: no such folder"
if [ -n "$together" ]; then
    [ ${#names[@]} -eq 0 ] || fail "--algorithms and ${names[*]} exclude each other"
    [ -n "$tag" ] || fail "--algorithms $together needs --tag NAME"
    names=("$together")
elif [ "${names[*]}" = all ]; then
    names=("${known[@]}" evaluation)
fi
[[ ${#names[@]} -le 1 || " ${names[*]} " != *" all "* ]] || fail "all stands beside other names; expected it alone"
[[ "$together" != *evaluation* ]] || fail "--algorithms $together: the evaluation is an image of its own (./build.sh evaluation)"
if [ -n "$offline" ] && ! compgen -G "$wheelhouse/*.whl" > /dev/null; then
    fail "--offline: $wheelhouse holds no packages; expected docker/wheelhouse.sh DIR to have filled it (--wheelhouse DIR)"
fi
[ ${#names[@]} -gt 0 ] || fail "nothing to build; expected all, evaluation or names out of: ${known[*]}"
[ -z "$tag" ] || [ ${#names[@]} -eq 1 ] || fail "--tag $tag fits one image; got ${#names[@]}"
for name in "${names[@]}"; do
    for part in ${name//,/ }; do
        [ "$(tr , '\n' <<< "$name" | grep -cxF -- "$part")" = 1 ] || fail "--algorithms $name holds $part twice; expected each once"
        [ "$name" = evaluation ] || [[ " ${known[*]} " = *" $part "* ]] ||
            fail "algorithm '$part' is unknown; expected evaluation or one of: ${known[*]}"
    done
done
command -v docker > /dev/null || fail "docker was not found; expected it on the PATH"
told="$(docker info 2>&1 > /dev/null)" || {
    echo "error: no Docker engine answers: $(tail -n 1 <<< "$told") (docker/engine.sh start starts one on Debian, as root)" >&2
    exit 1
}

version="$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")"
revision="$(git -C "$root" rev-parse --short HEAD 2> /dev/null || echo unknown)"

context() { # in a subshell: a tar of what the Dockerfiles copy, and nothing else; wheelhouse and certificates may lie anywhere
    parts="$(mktemp -d)"
    trap 'rm -r "$parts"' EXIT # of this subshell
    ln -s "$(cd "$wheelhouse" && pwd)" "$parts/wheelhouse"
    ln -s "$(cd "$certificates" && pwd)" "$parts/certificates"
    "$tar" -c --sort=name --owner=0 --group=0 --dereference --exclude=__pycache__ --exclude=.partial \
        --transform='s,^\(wheelhouse\|certificates\),docker/\1,' \
        -C "$root" pyproject.toml constraints.txt README.md LICENSE synthct algorithms evaluation \
        docker/requirements docker/install.sh docker/packages.sh docker/assemble.sh \
        docker/algorithm.Dockerfile docker/evaluation.Dockerfile \
        -C "$parts" wheelhouse certificates
}

for name in "${names[@]}"; do
    image="${tag:-synthct-$name:$version}"
    kind=algorithm
    [ "$name" != evaluation ] || kind=evaluation
    echo "building $image ..." >&2
    context | docker build ${DOCKER_QUIET_BUILD:+--quiet} --platform linux/amd64 --file "docker/$kind.Dockerfile" --tag "$image" \
        ${base:+--build-arg "BASE_IMAGE=$base"} --build-arg "ALGORITHMS=$name" --build-arg "API_METHOD=$api" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "${options[@]}" - >&2 || {
        echo "error: $image was not built; where its base or packages cannot be had: --base, --wheelhouse (docs/containers.md)" >&2
        exit 1
    }
    echo "$image"
done
