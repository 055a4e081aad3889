#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Installs what `make build` has built, or takes it away again. First argument: install or uninstall.
# From the environment: DESTDIR, PREFIX, BINDIR, PLUGINDIR, DATADIR, DOCDIR. Without them all goes where GStreamer is,
# since it looks for plugins and presets nowhere else unless GST_PLUGIN_PATH and GST_PRESET_PATH say so.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
if ! pkg-config --exists gstreamer-1.0; then
    echo "install: pkg-config does not know gstreamer-1.0: make deps" >&2
    exit 1
fi
prefix=${PREFIX:-$(pkg-config --variable=prefix gstreamer-1.0)}
bindir=${BINDIR:-$prefix/bin}
plugindir=${PLUGINDIR:-$(pkg-config --define-variable=prefix="$prefix" --variable=pluginsdir gstreamer-1.0)}
datadir=${DATADIR:-$prefix/share}
docdir=${DOCDIR:-$datadir/doc/gst-plugin-wm}

# Mode, file and where it goes, a line each.
list() {
    printf '644\t%s\t%s\n' \
        "$target/release/libgstwm.so" "$plugindir/libgstwm.so" \
        data/presets/GstWmEmbed.prs "$datadir/gstreamer-1.0/presets/GstWmEmbed.prs" \
        data/presets/GstWmDetect.prs "$datadir/gstreamer-1.0/presets/GstWmDetect.prs"
    printf '755\t%s\t%s\n' "$target/release/wm" "$bindir/wm"
    local file
    for file in README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT $(find docs -type f | sort); do
        printf '644\t%s\t%s\n' "$file" "$docdir/$file"
    done
}

# Options for what `install` is to do with this file: without debugging information, the plugin is a tenth as large.
strip_of() {
    case $1 in
        "$target"/*) echo --strip ;;
    esac
}

put() {
    if [ ! -e "$target/release/libgstwm.so" ] || [ ! -e "$target/release/wm" ]; then
        echo "install: nothing is built: make build" >&2
        exit 1
    fi
    list | while IFS=$'\t' read -r mode file goal; do
        # There is an option or none.
        # shellcheck disable=SC2046
        install -D -m "$mode" $(strip_of "$file") "$file" "${DESTDIR:-}$goal"
        echo "${DESTDIR:-}$goal"
    done
}

# Directories that every system has, with something in them or not.
is_of_system() {
    case $1 in
        / | /opt | /usr | /usr/bin | /usr/lib | /usr/share) true ;;
        /usr/local | /usr/local/bin | /usr/local/lib | /usr/local/share) true ;;
        *) false ;;
    esac
}

take_away() {
    list | while IFS=$'\t' read -r _ _ goal; do
        rm -f "${DESTDIR:-}$goal"
        # Directories go as far as they are empty.
        directory=$(dirname "$goal")
        while ! is_of_system "$directory" && [ "$directory" != . ]; do
            [ ! -e "${DESTDIR:-}$directory" ] || rmdir "${DESTDIR:-}$directory" 2> /dev/null || break
            directory=$(dirname "$directory")
        done
    done
}

case ${1:-} in
    install) put ;;
    uninstall) take_away ;;
    *)
        echo "usage: scripts/install.sh install|uninstall" >&2
        exit 2
        ;;
esac
