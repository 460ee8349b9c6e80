#!/bin/sh
# Make a Docker engine available to the tests, and debootstrap, which their images are made with.
#
#   tests/install_docker.sh [FOLDER]
#
# Nothing is done where an engine answers already. Otherwise Debian's is installed by apt where it is
# missing, and started: by hand, since there may be no init system, in the background, with its log
# in FOLDER/dockerd.log (default: .venv). It lives on afterwards. Installing and starting need root;
# without it the script says what is missing.
set -eu

wait_s=60
socket=/var/run/docker.sock

fail() {
    echo "install_docker: $*" >&2
    exit 1
}

# Says whether an engine answers where DOCKER_HOST says, or at the socket.
answers() {
    python3 - "${DOCKER_HOST:-unix://$socket}" <<'END'
import http.client, socket, sys

scheme, _, place = sys.argv[1].partition("://")
connection = http.client.HTTPConnection("localhost" if scheme == "unix" else place, timeout=5)
try:
    if scheme == "unix":
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(place)
    connection.request("GET", "/_ping")
    sys.exit(connection.getresponse().status != 200)
except (OSError, http.client.HTTPException):
    sys.exit(1)
END
}

# Installs Debian packages, or says which are missing.
need() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "please install: $*"
    fi
    echo "install_docker: installing $*"
    apt-get update --quiet=2
    # A package must not start its daemon here: this script does.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install --quiet=2 --yes \
        --no-install-recommends "$@" >/dev/null
}

# Starts dockerd with the given options and waits until it answers; fails where it ends instead.
start() {
    setsid dockerd "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    waited=0
    while ! answers; do
        kill -0 "$pid" 2>/dev/null || return 1
        [ "$waited" -lt "$wait_s" ] || fail "dockerd does not answer after $wait_s s; see $log"
        sleep 1
        waited=$((waited + 1))
    done
}

folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/.venv}
command -v debootstrap >/dev/null || need debootstrap
if answers; then
    echo "install_docker: an engine answers at ${DOCKER_HOST:-$socket}"
    exit 0
fi
[ -z "${DOCKER_HOST:-}" ] || fail "no engine answers at $DOCKER_HOST (DOCKER_HOST)."
command -v dockerd >/dev/null || need docker.io
[ "$(id -u)" = 0 ] || fail "no engine answers at $socket; start it, or run this as root."
mkdir -p "$folder"
log=$folder/dockerd.log
: >"$log"
# Where the kernel lets no firewall or overlay file system be used, dockerd does without: ports are
# then published by its proxy program, and layers are copies.
start || start --iptables=false --ip6tables=false --storage-driver=vfs || {
    tail -n 5 "$log" >&2
    fail "dockerd does not start here; all it said is in $log"
}
echo "install_docker: started dockerd (pid $pid), log in $log"
