#!/bin/sh
# Make jj available to the tests on Debian, where it is packaged in sid only.
#
#   tests/install_jj.sh [FOLDER]
#
# Nothing is done where a jj that is new enough is on PATH. Otherwise sid's package and the libraries
# that it needs are fetched by apt, in a configuration of its own and from the mirror that apt
# already uses, with signatures checked as always; they are unpacked into FOLDER/jj (default: .venv)
# and FOLDER/bin/jj runs jj through sid's dynamic loader. No root is needed, and nothing
# outside FOLDER is touched.
set -eu

packages="jujutsu libc6 libgcc-s1 libmimalloc3"
oldest_minor=46

fail() {
    echo "install_jj: $*" >&2
    exit 1
}

# Says whether the program $1 is jj 0.46 or newer.
new_enough() {
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#jj }
    major=${version%%.*}
    minor=${version#*.}
    minor=${minor%%.*}
    case $major$minor in *[!0-9]* | "") return 1 ;; esac
    [ "$major" -gt 0 ] || [ "$minor" -ge "$oldest_minor" ]
}

# Prints the addresses of the archives that apt is configured for, security and updates aside.
# `update --print-uris` knows them before the first update, too; `indextargets` would not.
archives() {
    apt-get --option "Dir::State::Lists=$work/lists" update --print-uris |
        sed -n "s|^'\\(.*\\)/dists/[^/-]*/InRelease'.*|\\1|p" | uniq
}

keyring() {
    for file in /usr/share/keyrings/debian-archive-keyring.gpg \
        /usr/share/keyrings/debian-archive-keyring.pgp; do
        [ -e "$file" ] || continue
        echo "$file"
        return
    done
    fail "needs the package debian-archive-keyring, to check signatures with."
}

folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/.venv}
if new_enough jj; then
    echo "install_jj: $(jj --version) is at $(command -v jj)"
    exit 0
fi
if new_enough "$folder/bin/jj"; then
    echo "install_jj: $("$folder/bin/jj" --version) is at $folder/bin/jj"
    exit 0
fi
id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}") || id=""
[ "$id" = debian ] && command -v apt-get >/dev/null ||
    fail "needs jj 0.$oldest_minor or newer on PATH; only on Debian can this script fetch it."
keys=$(keyring)

mkdir -p "$folder/bin"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# As root, apt fetches as the user _apt, who must be able to pass here.
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$work/jj"
: >"$work/status"
cat >"$work/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Retries "3";
APT::Sandbox::User "$(if [ "$(id -u)" = 0 ]; then echo _apt; else id -un; fi)";
END

echo "install_jj: fetching $packages from sid"
found=""
for address in $(archives); do
    # Other people's archives among them have no sid, or none that Debian's keys have signed.
    echo "deb [signed-by=$keys] $address sid main" >"$work/sources.list"
    if apt-get --config-file "$work/apt.conf" --quiet=2 --error-on=any update 2>"$work/errors"; then
        found=$address
        break
    fi
    cat "$work/errors" >&2
done
[ -n "$found" ] || fail "apt could read sid's package list from none of the archives it knows."
if [ "$(id -u)" = 0 ]; then
    chown _apt "$work/packages" 2>/dev/null || true
fi
selected=""
for package in $packages; do
    selected="$selected $package/sid"
done
# shellcheck disable=SC2086 # one word a package is meant
(cd "$work/packages" && apt-get --config-file "$work/apt.conf" --quiet=2 download $selected) ||
    fail "apt could not fetch the packages."
for package in "$work"/packages/*.deb; do
    dpkg-deb --extract "$package" "$work/jj"
done

rm -rf "$folder/jj"
cp -R "$work/jj" "$folder/jj"
loader=$(find "$folder/jj" -name 'ld-linux*.so.*' | head -n 1)
library=$(find "$folder/jj" -name libc.so.6 | head -n 1)
[ -n "$loader" ] && [ -n "$library" ] || fail "sid's libc6 looks different from what was expected."
cat >"$folder/bin/jj.new" <<END
#!/bin/sh
exec "$loader" --argv0 "\$0" --library-path "$(dirname "$library")" "$folder/jj/usr/bin/jj" "\$@"
END
chmod 755 "$folder/bin/jj.new"
new_enough "$folder/bin/jj.new" || fail "the jj that was unpacked does not run: $(
    "$folder/bin/jj.new" --version 2>&1 | head -n 3
)"
mv "$folder/bin/jj.new" "$folder/bin/jj"
echo "install_jj: $("$folder/bin/jj" --version) is at $folder/bin/jj"
