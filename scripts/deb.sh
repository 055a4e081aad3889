#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes a Debian package of what `make build` has built, in target/debian, and lets lintian look at it.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
version=$(cargo pkgid --package gst-plugin-wm | sed 's/.*[@#]//')
if [ "$(dpkg-parsechangelog --show-field Version)" != "$version" ]; then
    echo "deb: Cargo.toml has version $version, debian/changelog has another: add an entry there" >&2
    exit 1
fi

mkdir -p "$target/debian"
rm -f "$target"/debian/*.deb
# What the user has set for other purposes must not change the package.
unset GST_PLUGIN_PATH GST_PRESET_PATH DESTDIR PREFIX BINDIR PLUGINDIR DATADIR DOCDIR
DEB_BUILD_OPTIONS=noautodbgsym debian/rules binary > "$target/debian/log" 2>&1 || {
    cat "$target/debian/log" >&2
    exit 1
}
package=$(echo "$target"/debian/gstreamer1.0-wm_*.deb)
debian/rules clean > /dev/null
lintian --allow-root --fail-on error,warning "$package"
dpkg-deb --info "$package" | sed -n '/^ Package/,$p'
echo "$package"
