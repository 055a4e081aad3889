#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Measures what the plugin adds to the start of a program: gst-inspect-1.0 of each element beside that of an element of
# GStreamer's own plugins. The list of plugins is written before, as in an installed system. RUNS=30; medians are compared.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$target/startup
mkdir -p "$out"
export GST_REGISTRY=$out/registry.bin GST_PRESET_PATH=$PWD/data/presets LC_ALL=C

# As it is installed: with debugging information the file is ten times as large.
install --strip "$target/release/libgstwm.so" "$out/libgstwm.so"
export GST_PLUGIN_PATH=$out
gst-inspect-1.0 > /dev/null

median() {
    hyperfine --shell=none --warmup 5 --runs "${RUNS:-30}" --export-json "$out/$1.json" "gst-inspect-1.0 $1" \
        > /dev/null 2>&1
    sed -n 's/^ *"median": \([0-9.]*\),.*/\1/p' "$out/$1.json"
}

reference=$(median equalizer-nbands)
status=0
for element in wmembed wmdetect; do
    awk -v element=$element -v own="$(median $element)" -v reference="$reference" 'BEGIN {
        added = (own - reference) * 1000
        printf "%-9s %5.1f ms, %+.1f ms beside equalizer-nbands (at most 10)\n", element, own * 1000, added
        exit added > 10
    }' || status=1
done
exit $status
