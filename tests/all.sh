#!/bin/sh
# Set up and run all static checks and tests; arguments go to pytest.
#
# Needs Debian with Python 3.11 or newer and a network connection on the first run. What is missing
# of git and Python's venv is installed by apt where this runs as root, else named.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

fail() {
    echo "all.sh: $*" >&2
    exit 1
}

# Installs Debian packages, or says which are missing.
need() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "please install: $*"
    fi
    echo "all.sh: installing $*"
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$@" \
        >/dev/null
}

find_python() {
    for python in python3 python3.11 python3.12 python3.13 python3.14; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$python"
        return
    done
}

make_environment() {
    python=$(find_python)
    if [ -z "$python" ]; then
        need python3 python3-venv
        python=$(find_python)
        [ -n "$python" ] || fail "needs Python 3.11 or newer."
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        need python3-venv
    fi
    "$python" -m venv .venv
}

command -v git >/dev/null || need git
.venv/bin/python -m pip --version >/dev/null 2>&1 || make_environment
if ! cmp -s pyproject.toml .venv/installed-pyproject.toml; then
    echo "all.sh: installing the project and its test requirements"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
    cp pyproject.toml .venv/installed-pyproject.toml
fi
PATH="$PWD/.venv/bin:$PATH"
export PATH
tests/install_jj.sh
# What the stand-in for environmentd is compiled with.
missing=$(PYTHONPATH=tests python -c 'from standin import missing_packages; print(*missing_packages())')
# shellcheck disable=SC2086  # names of packages
[ -z "$missing" ] || need $missing
command -v perf >/dev/null || need linux-perf
if ! { tests/install_docker.sh && python tests/docker_images.py; }; then
    echo "all.sh: no Docker engine, or no images for it: the tests of containers are skipped"
fi

failed=""
check() {
    echo "all.sh: $*"
    "$@" || failed="$failed
  $*"
}
check ruff check .
check ruff format --check .
check mypy
check lint-imports
[ -z "$failed" ] || fail "static checks that failed, before any test ran:$failed"

# The tests run real servers against real clocks on a machine that may be shared: one that fails is
# tried once more, and the summary names each that needed it.
exec python -m pytest -n 2 --dist loadscope --reruns 1 -rR "$@"
