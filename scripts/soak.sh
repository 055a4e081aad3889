#!/usr/bin/env bash
# soak.sh PROGRAM HOURS [FILE...]: the soak of examples/soak.rs, with a mark and, a quarter as long, without.
set -eu

program=$1 hours=$2
shift 2
data=$(dirname "$0")/../tests/data
[ $# -gt 0 ] || set -- "$data/music.flac" "$data/speech.flac"

failed=0
"$program" --hours "$hours" "$@" || failed=1
echo "without a mark:"
"$program" --unmarked --hours "$(awk "BEGIN { print $hours / 4 }")" "$@" || failed=1
exit $failed
