# Sourced in the build stage: pip as the build wants it, from a wheelhouse and through a hospital's proxy where there are such.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1
export PIP_FIND_LINKS=/build/wheelhouse PIP_CONSTRAINT=/build/constraints.txt
[ "${OFFLINE:-0}" = 0 ] || export PIP_NO_INDEX=1
bundle=/etc/ssl/certs/ca-certificates.crt
if ls certificates/*.crt > /dev/null 2>&1; then
    cat "$bundle" certificates/*.crt > /build/ca.crt 2> /dev/null || cat certificates/*.crt > /build/ca.crt
    bundle=/build/ca.crt
fi
[ ! -e "$bundle" ] || export PIP_CERT="$bundle"
if python3 -m pip --version > /dev/null 2>&1; then
    pip="python3 -m pip"
else
    [ -e /opt/pip ] || python3 -m venv /opt/pip
    pip="/opt/pip/bin/python -m pip"
fi
pip_install() { $pip --python /opt/venv/bin/python install "$@"; }
