#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Installs the Debian package in a Debian that has nothing else, marks and detects there, removes it again, and compares
# what is in /usr and /etc before and after; then the same with `make install`. As root, with debootstrap, from the mirror
# that this machine uses. The bare Debian and the packages that were fetched are kept in target/test-install.
set -eu
unset DESTDIR PREFIX BINDIR PLUGINDIR DATADIR DOCDIR
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cache=$target/test-install
suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "test-install: $*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "only root can make a Debian: sudo make test-install"
package=$(ls "$target"/debian/gstreamer1.0-wm_*.deb) || fail "there is no package: make deb"
mkdir -p "$cache/archives"
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/srv \
        ${http_proxy:+"http_proxy=$http_proxy"} chroot "$root" "$@"
}

apt_get() {
    inside apt-get -q -y -o APT::Keep-Downloaded-Packages=true -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-unsafe-io "$@"
}

# The mirror of the suite, as apt knows it here.
mirror() {
    # shellcheck disable=SC2016 # The names are apt's.
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' \
        | awk -v suite=$suite '$1 == suite && /debian/ { print $2; exit }'
}

bare_debian() {
    if [ ! -e "$cache/$suite.tar" ]; then
        echo "test-install: making a bare Debian, which is kept in $cache"
        debootstrap --variant=minbase --keyring="$keyring" "$suite" "$root" "$(mirror)" > "$cache/log" 2>&1 \
            || fail "debootstrap failed, see $cache/log"
        tar -C "$root" -cf "$cache/$suite.tar.part" .
        mv "$cache/$suite.tar.part" "$cache/$suite.tar"
    else
        tar -C "$root" -xpf "$cache/$suite.tar"
    fi
    [ ! -e /etc/resolv.conf ] || cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp "$cache"/archives/*.deb "$root/var/cache/apt/archives/" 2> /dev/null || true
    apt_get update > "$cache/log" 2>&1 || fail "apt-get update failed, see $cache/log"
}

# Installs what apt would install besides the package, so that nothing but the package comes and goes afterwards.
install_what_it_needs() {
    local needed
    needed=$(apt_get --simulate install /package.deb | awk '/^Inst / && $2 != "gstreamer1.0-wm" { print $2 }')
    # The names are to be split.
    # shellcheck disable=SC2086
    apt_get install --no-install-recommends $needed > "$cache/log" 2>&1 || fail "no dependencies, see $cache/log"
    cp -n "$root"/var/cache/apt/archives/*.deb "$cache/archives/"
}

# Everything in /usr and /etc: name, kind, mode, size and link. The cache of the linker is of all libraries together.
files() {
    (cd "$root" && find usr etc -printf '%p %y %m %s %l\n' | grep -v '^etc/ld.so.cache ' | sort)
}

# Fails unless /usr and /etc are as they were.
expect_as_before() {
    files > "$cache/after"
    diff "$cache/before" "$cache/after" || fail "$1 left the above in /usr or /etc"
    ! inside gst-inspect-1.0 wm > /dev/null 2>&1 || fail "$1 left the plugin"
}

# Plays a pipeline in the clean Debian; $cache/log has what it says.
play() {
    inside gst-launch-1.0 -m "$@" > "$cache/log" 2>&1 || fail "a pipeline failed, see $cache/log: $*"
}

is_found() {
    grep -q 'wmdetect, state=(string)found' "$cache/log"
}

# The key is in a file: as an argument it would show in the list of processes.
mark_and_detect() {
    local preset=$1 original="filesrc location=/srv/music.flac ! flacparse ! flacdec ! audioconvert"
    cp tests/data/music.flac "$root/srv/"
    (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' > "$root/srv/station.key")
    # The original is to be split into words.
    # shellcheck disable=SC2086
    {
        play $original ! wmembed @preset="$preset" key-file=/srv/station.key ! audioconvert ! wavenc \
            ! filesink location=/srv/marked.wav
        play filesrc location=/srv/marked.wav ! wavparse ! audioconvert \
            ! wmdetect @preset="$preset" key-file=/srv/station.key ! fakesink sync=false
        is_found || fail "the mark of preset $preset was not found"
        play $original ! wmdetect @preset="$preset" key-file=/srv/station.key ! fakesink sync=false
        ! is_found || fail "a mark was found in unmarked audio"
    }
    rm "$root"/srv/{music.flac,marked.wav,station.key}
}

try_it() {
    local preset
    inside gst-inspect-1.0 wm | grep -q '2 elements' || fail "$1: gst-inspect-1.0 wm does not list two elements"
    for element in wmembed wmdetect; do
        inside gst-inspect-1.0 "$element" | grep -q '"telephone"' || fail "$1: $element shows no presets"
    done
    inside wm --help > /dev/null || fail "$1: the command wm does not start"
    for preset in broadcast telephone low-latency; do
        mark_and_detect "$preset"
    done
    echo "test-install: $1: two elements, three presets, wm; marked and detected"
}

bare_debian
cp "$package" "$root/package.deb"
install_what_it_needs
files > "$cache/before"

apt_get install /package.deb > "$cache/log" 2>&1 || fail "apt did not install the package, see $cache/log"
[ "$(stat -c %s "$root"/usr/lib/*/gstreamer-1.0/libgstwm.so)" -le $((2 << 20)) ] || fail "the plugin is above 2 MiB"
inside dpkg --verify gstreamer1.0-wm
try_it "apt install"
apt_get purge gstreamer1.0-wm > "$cache/log" 2>&1 || fail "apt did not remove the package, see $cache/log"
expect_as_before "apt purge"

DESTDIR=$root scripts/install.sh install > /dev/null
try_it "make install"
DESTDIR=$root scripts/install.sh uninstall
expect_as_before "make uninstall"

mkdir "$root/stage"
for prefix in /opt/wm /usr/local; do
    mkdir -p "$root"/stage/{opt,usr/local/bin}
    DESTDIR=$root/stage PREFIX=$prefix scripts/install.sh install > /dev/null
    DESTDIR=$root/stage PREFIX=$prefix scripts/install.sh uninstall
    left=$(cd "$root/stage" && find . -not -path ./usr/local/lib -not -path ./usr/local/share | sort | tr '\n' ' ')
    [ "$left" = ". ./opt ./usr ./usr/local ./usr/local/bin " ] \
        || fail "make uninstall with PREFIX=$prefix left more or less than what was there: $left"
done
echo "test-install: removed without a trace"
