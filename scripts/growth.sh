#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Measures how the work grows and how much of a core many live detectors take, and draws both, docs/speed.svg and
# docs/growth.svg: scripts/growth.sh DIRECTORY_OF_BENCHES DIRECTORY_OF_EXAMPLES.
# DETECTORS=100 OUT=docs
set -euo pipefail
cd "$(dirname "$0")/.."
benches=$1 examples=$2
detectors=${DETECTORS:-100}
out=${OUT:-docs}
mkdir -p "$out"

# Percent of a core that live pipelines take; whether all kept their pace does not matter here.
load() {
    "$examples/many_detectors" --detectors "$detectors" --seconds 20 "$@" > "$log" || [ $? -eq 1 ]
    awk '$1 == "processor" { print $2 }' "$log"
}

log=$(mktemp)
trap 'rm "$log"' EXIT
searching=$(load)
found=$(load --marked)
sources=$(load --bare)
echo "live, $detectors pipelines: $searching % of a core searching, $found % once found, $sources % without detectors"
"$benches/growth" "$out" "$detectors" "$searching" "$found" "$sources"
