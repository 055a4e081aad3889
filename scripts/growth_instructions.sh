#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Counts with callgrind how the work grows, free of whatever else the machine does: scripts/growth_instructions.sh
# DIRECTORY_OF_BENCHES. Prints millions of instructions for each second of audio.
set -euo pipefail
command -v valgrind > /dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
work=$1/work

seconds=2 # as in profile.sh

# Arguments are those of `work`, but for the seconds.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*measured*' \
        "$work" "$1" "$2" "$3" $seconds "${@:4}" 2>&1 \
        | awk -v seconds=$seconds '/Collected/ { printf "%.2f", $NF / seconds / 1e6 }'
}

printf 'what\tvalue\twmembed\twmdetect\n'
for channels in 1 2 4 8 16; do
    printf 'channels\t%s\t%s\t%s\n' $channels "$(count embedding 48000 $channels)" "$(count searching 48000 $channels)"
done
for rate in 8000 16000 32000 48000 96000 192000; do
    printf 'rate\t%s\t%s\t%s\n' $rate "$(count embedding $rate 2)" "$(count searching $rate 2)"
done
for keys in 1 10 100; do
    printf 'keys\t%s\t-\t%s\n' $keys "$(count searching 48000 2 $keys)"
done
for deviation in 0 0.1 1 6; do
    speeds=$(awk -v deviation=$deviation 'BEGIN { print 100 * deviation + 1 }')
    printf 'speeds\t%s\t-\t%s\n' "$speeds" "$(count searching 48000 2 1 $deviation)"
done
