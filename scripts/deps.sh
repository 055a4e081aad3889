#!/usr/bin/env bash
# Installs the Debian packages that building, demo and tests need, and those of the arguments, if they are missing.
set -eu

packages=(
    gcc libc6-dev make pkg-config
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-libav
    # For the tests of whole pipelines: WebRTC, Icecast, editing.
    gstreamer1.0-nice icecast2 ges1.0-tools
    "$@"
)

if ! command -v cargo > /dev/null; then
    echo "deps: cargo is not in PATH; Rust 1.92 or newer is needed: https://rustup.rs" >&2
    exit 1
fi

if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
    echo "deps: this is not Debian, so nothing is installed. Needed are a C linker, make, pkg-config, and"
    echo "deps: GStreamer 1.20 or newer: tools, headers (core and base), and the plugins base, good, bad, libav and"
    echo "deps: nice. The tests need icecast2 (Icecast) and ges1.0-tools (GStreamer Editing Services), too."
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2> /dev/null || true)
    grep -qx installed <<< "$state" || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo > /dev/null; then
        echo "deps: run this as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    sudo=(sudo)
fi

apt_get() {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

echo "deps: installing ${missing[*]}"
apt_get update
apt_get install --no-install-recommends "${missing[@]}"
