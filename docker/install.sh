#!/bin/sh
# install.sh KIND: the locked requirements of an image (algorithm or evaluation) into /opt/venv. Runs in the build stage only.
# Packages that the base image has already, torch above all, are taken from there.
set -eu
kind="$1"
. ./packages.sh
python3 -m venv --system-site-packages --without-pip /opt/venv
echo /opt/algorithm/packages > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/synthct.pth"
# by hash first, so that torch finds what it needs of them and brings only itself and its CUDA libraries
pip_install --no-deps --require-hashes --requirement "requirements/$kind.txt"
pip_install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    --requirement "requirements/torch-$kind.txt"
