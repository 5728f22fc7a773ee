#!/bin/sh
# assemble.sh KIND API [NAMES]: our own packages into /opt/algorithm, and the command that the image starts with.
# KIND is algorithm or evaluation; NAMES are algorithms joined by commas. Other algorithms' folders stay out of the image.
set -eu
kind="$1" api="$2" names="${3:-evaluation}"
. ./packages.sh
case "$api" in
    exec | invoke) ;;
    *) echo "error: API_METHOD is '$api'; expected exec or invoke" >&2; exit 2 ;;
esac
names="$(echo "$names" | tr ',' ' ')"
cd source
if [ "$kind" = algorithm ]; then
    wanted=" "
    for name in $names; do
        folder="$(echo "$name" | tr - _)"
        [ -e "algorithms/$folder/about.py" ] || { echo "error: ALGORITHMS names $name; expected a folder algorithms/$folder with about.py" >&2; exit 2; }
        wanted="$wanted$folder "
    done
    [ "$wanted" != " " ] || { echo "error: ALGORITHMS is empty; expected names such as pix2pix-pelvis" >&2; exit 2; }
    for about in algorithms/*/about.py; do
        folder="$(basename "$(dirname "$about")")"
        case "$wanted" in *" $folder "*) ;; *) rm -r "algorithms/$folder" ;; esac
    done
fi
for package in algorithms evaluation; do # commands of a package that is not in the image
    [ -d "$package" ] || sed -i "/= \"$package\./d" pyproject.toml
done
$pip install --no-deps --target /opt/algorithm/packages .
rm -rf /opt/algorithm/packages/bin
# guarded: worker processes import it again
printf '#!/opt/venv/bin/python\nfrom synthct.cli import main\n\nif __name__ == "__main__":\n    main()\n' > /opt/algorithm/synthct
printf '#!/bin/sh\nexec /opt/algorithm/synthct run %s --api %s "$@"\n' "$names" "$api" > /opt/algorithm/start
cp LICENSE /opt/algorithm/
chmod 755 /opt/algorithm/synthct /opt/algorithm/start
/opt/venv/bin/python -m compileall -q /opt/algorithm/packages
