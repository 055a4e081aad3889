#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Tells where the instructions go, stage by stage: scripts/profile.sh DIRECTORY_WITH_WORK [RATE [CHANNELS]]
# Callgrind counts the lines of two seconds of audio; a line of this project counts for its file's stage, a line of a
# library that was inlined for the stage that most lines of the same function belong to.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind > /dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
work=$1/work rate=${2:-48000} channels=${3:-2} seconds=2
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
kinds=(searching found embedding)
for kind in "${kinds[@]}"; do
    if ! valgrind --tool=callgrind --demangle=no --toggle-collect='*measured*' \
        --callgrind-out-file="$out/$kind.callgrind" "$work" "$kind" "$rate" "$channels" $seconds > "$out/log" 2>&1; then
        cat "$out/log" >&2
        exit 1
    fi
    callgrind_annotate --threshold=100 --auto=no "$out/$kind.callgrind" > "$out/$kind"
done
echo "$rate Hz, channels: $channels. Thousands of instructions for each second of audio, and percent:"
echo
awk -v seconds=$seconds '
BEGIN {
    # Order and names of the stages, and the files of each.
    count = split("downmix:downmix|decimation:decimation|transform:spectrum|correlation of frames:correlation kept_frame sounding rounding|lag of stretched audio:lag|" \
        "weighting:weighting levels|weighting, network:network weighting_network|chips:speeds|rows:row_history rounded rows heard|" \
        "products:products lookup workspace|evidence:evidence|search:search beside cut detector judge thresholds candidate alignment windows sweep|" \
        "following:tracker followed presence pauses reader timing edges fit stretch cut key bound payload|" \
        "masking:masking|carrier:carrier course|signs and payload:modulation|adding up:embedder", stages, "|")
    for (i = 1; i <= count; i++) {
        split(stages[i], part, ":")
        order[i] = part[1]
        files = split(part[2], file, " ")
        for (j = 1; j <= files; j++) stage_of[file[j]] = part[1]
    }
    order[++count] = "logarithms, powers, sines"
    order[++count] = "copies and zeros"
    order[++count] = "other"
}
# A line of callgrind_annotate: instructions, percent, file:function and the program.
/^ *[0-9,]+ \( *[0-9.]+%\) +[^ ]+:[^ ]+/ {
    instructions = $1
    gsub(",", "", instructions)
    sub(/^ *[0-9,]+ \( *[0-9.]+%\) +/, "")
    sub(/ \[.*/, "")
    at = match($0, /:[^:]*$/)
    path = substr($0, 1, at - 1)
    symbol = substr($0, at + 1)
    kind = FILENAME
    sub(/.*\//, "", kind)
    total[kind] += instructions
    module = path
    sub(/.*\//, "", module)
    sub(/\.rs$/, "", module)
    if (path ~ /rustfft|realfft/ || symbol ~ /rustfft|realfft/) add(kind, "transform", instructions)
    else if (path ~ /src\/watermark\// && module in stage_of) {
        add(kind, stage_of[module], instructions)
        of_stage[kind, symbol, stage_of[module]] += instructions
        if (of_stage[kind, symbol, stage_of[module]] > most[kind, symbol]) {
            most[kind, symbol] = of_stage[kind, symbol, stage_of[module]]
            main[kind, symbol] = stage_of[module]
        }
    }
    else if (symbol ~ /^__?mem|^mem/) add(kind, "copies and zeros", instructions)
    else if (path ~ /math|ieee754/) add(kind, "logarithms, powers, sines", instructions)
    else left[kind, symbol] += instructions
}
function add(kind, stage, instructions) { sum[kind, stage] += instructions }
END {
    for (pair in left) {
        split(pair, part, SUBSEP)
        add(part[1], (pair in main) ? main[pair] : "other", left[pair])
    }
    split("searching found embedding", kinds, " ")
    print "| stage | wmdetect, searching | | once found | | wmembed | |"
    print "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for (i = 1; i <= count; i++) {
        row = ""
        any = 0
        for (k = 1; k <= 3; k++) {
            part_of = sum[kinds[k], order[i]]
            any += part_of
            row = row (part_of ? sprintf(" %.0f | %.1f %% |", part_of / seconds / 1e3, 100 * part_of / total[kinds[k]]) : " | |")
        }
        if (any) print "| " order[i] " |" row
    }
    row = ""
    for (k = 1; k <= 3; k++) row = row sprintf(" %.0f | 100 %% |", total[kinds[k]] / seconds / 1e3)
    print "| all |" row
}' "$out/searching" "$out/found" "$out/embedding"
