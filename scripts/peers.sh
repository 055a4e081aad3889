#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Marks a minute of a recording with `wm` and with other programs for audio watermarks, and finds the marks again:
# processor time of each, and what is left of the mark in short pieces, behind MP3 and in noise.
#
#   scripts/peers.sh [RECORDING]     AUDIOWMARK=path AGUA=path WM=path RUNS=5
#
# What is not there is left out. audiowmark: https://github.com/swesterfeld/audiowmark, agua:
# https://github.com/srperens/agua. All programs have one processor (taskset), and take turns, so that what else the
# machine does meets all of them; times are user and system time of whole processes, medians of RUNS.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
recording=$(realpath "${1:-tests/data/music.flac}")
wm=$(realpath "${WM:-$target/release/wm}")
runs=${RUNS:-5}
audiowmark=$(command -v "${AUDIOWMARK:-audiowmark}" || true)
agua=$(command -v "${AGUA:-agua}" || true)
[ -z "$audiowmark" ] || audiowmark=$(realpath "$audiowmark")
[ -z "$agua" ] || agua=$(realpath "$agua")
export GST_PLUGIN_PATH=$target/release LC_ALL=C

dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
export GST_REGISTRY=$dir/registry.bin
bytes=0123456789abcdef0011223344556677
"$wm" key key > /dev/null
[ -z "$audiowmark" ] || "$audiowmark" gen-key audiowmark.key
ffmpeg -v error -stream_loop -1 -i "$recording" -t 60 -ar 44100 -ac 2 -c:a pcm_s16le in.wav

# Names of what is compared; `embed_NAME IN OUT` marks, `detect_NAME FILE` succeeds if the mark, or what it says, is found.
peers=(wm wm_payload)
embed_wm() { "$wm" embed --force --key-file key "$1" "$2"; }
detect_wm() { "$wm" detect --jobs 1 --key-file key "$1"; }
embed_wm_payload() { "$wm" embed --force --key-file key --payload 00c0ffee "$1" "$2"; }
detect_wm_payload() { detect_wm "$1" | grep -q 00c0ffee; }
[ -z "$audiowmark" ] || peers+=(audiowmark)
embed_audiowmark() { "$audiowmark" -q add --key audiowmark.key "${@:3}" "$1" "$2" $bytes; }
detect_audiowmark() { "$audiowmark" -q cmp --key audiowmark.key "$1" $bytes; }
# By default its mark is softer; with this strength it is about as loud as that of wm.
[ -z "$audiowmark" ] || peers+=(audiowmark_loud)
embed_audiowmark_loud() { embed_audiowmark "$1" "$2" --strength 35; }
detect_audiowmark_loud() { detect_audiowmark "$1"; }
[ -z "$agua" ] || peers+=(agua)
embed_agua() { "$agua" embed --key "a passphrase" --payload $bytes --input "$1" --output "$2"; }
detect_agua() { "$agua" detect --key "a passphrase" --input "$1" | grep -q $bytes; }

echo "wm: $("$wm" --version)"
[ -z "$audiowmark" ] || echo "audiowmark: $("$audiowmark" --version)"
[ -z "$agua" ] || echo "agua: $("$agua" --version)"

# Processor seconds of a function; whether it succeeds does not matter.
seconds() {
    local TIMEFORMAT='%U %S'
    { time "$@" > /dev/null 2>&1 || true; } 2>&1 | awk '{ print $1 + $2 }'
}

median() { sort -g | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

# Level in dB of what filters make of two files.
level() {
    ffmpeg -hide_banner -nostats -i "$1" -i "$2" -filter_complex "$3,volumedetect" -f null - 2>&1 |
        sed -n 's/.*mean_volume: \(.*\) dB.*/\1/p'
}

measure_time() {
    local peer what first programme mark
    taskset --pid --cpu-list 0 $$ > /dev/null
    for peer in "${peers[@]}"; do
        if ! { "embed_$peer" in.wav "$peer.wav" && "detect_$peer" "$peer.wav"; } > log 2>&1; then
            cat log >&2
            echo "$peer does not find its own mark in the whole minute" >&2
            exit 1
        fi
    done
    for _ in $(seq "$runs"); do
        for peer in "${peers[@]}"; do
            seconds "embed_$peer" in.wav again.wav >> "$peer.embed"
            seconds "detect_$peer" "$peer.wav" >> "$peer.marked"
            seconds "detect_$peer" in.wav >> "$peer.unmarked"
        done
    done
    echo
    echo "60 s of 44.1 kHz stereo, processor seconds and times real time, medians of $runs:"
    echo
    echo "| program | embed | | detect, marked | | detect, not marked | | programme to mark |"
    echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for peer in "${peers[@]}"; do
        printf '| %s |' "$peer"
        for what in embed marked unmarked; do
            median < "$peer.$what" | awk '{ printf " %.2f s | %.0f x |", $1, 60 / $1 }'
        done
        # Of the first channel, since agua has no other.
        first="pan=mono|c0=c0"
        programme=$(level in.wav in.wav "[0]$first")
        mark=$(level in.wav "$peer.wav" "[0]${first}[a];[1]${first},aeval=-val(0)[b];[a][b]amix=normalize=0:duration=shortest")
        awk -v programme="$programme" -v mark="$mark" 'BEGIN { printf " %.1f dB |\n", programme - mark }'
    done
}

# Treatments of a file: the same, MP3, and pink noise 20 dB below the programme.
treat_none() { cp "$1" "$2"; }
treat_mp3() {
    ffmpeg -v error -y -i "$1" -c:a libmp3lame -b:a 64k treated.mp3
    ffmpeg -v error -y -i treated.mp3 -c:a pcm_s16le "$2"
}
treat_noise() {
    local noise gain
    noise="anoisesrc=color=pink:amplitude=0.5:sample_rate=44100:duration=60:seed=1"
    gain=$(level "$1" "$1" "[0]anull")
    gain=$(awk -v programme="$gain" -v noise="$(ffmpeg -hide_banner -f lavfi -i "$noise" -af volumedetect -f null - 2>&1 |
        sed -n 's/.*mean_volume: \(.*\) dB.*/\1/p')" 'BEGIN { print programme - 20 - noise }')
    ffmpeg -v error -y -i "$1" -f lavfi -i "$noise" -filter_complex \
        "[1]volume=${gain}dB[noise];[0][noise]amix=normalize=0:duration=first" -c:a pcm_s16le "$2"
}

# How many of so many pieces of so many seconds have the mark; they begin at places that nothing else begins at.
found() {
    local peer=$1 file=$2 length=$3 pieces=$4 count=0 piece
    for piece in $(seq 0 $((pieces - 1))); do
        if [ "$length" = 60 ]; then
            cp "$file" piece.wav
        else
            local start
            start=$(awk -v n="$piece" -v room=$((60 - length)) -v of="$pieces" 'BEGIN { print 0.137 + n * (room - 0.2) / of }')
            ffmpeg -v error -y -ss "$start" -t "$length" -i "$file" -c:a pcm_s16le piece.wav
        fi
        if "detect_$peer" piece.wav > /dev/null 2>&1; then count=$((count + 1)); fi
    done
    printf ' %d of %d |' "$count" "$pieces"
}

measure_finding() {
    local peer treatment
    echo
    echo "Marks found (wm), or read and right (the others):"
    echo
    echo "| program | treatment | 60 s | 15 s | 4 s | 2 s |"
    echo "| --- | --- | ---: | ---: | ---: | ---: |"
    for peer in "${peers[@]}"; do
        for treatment in none mp3 noise; do
            "treat_$treatment" "$peer.wav" treated.wav
            printf '| %s | %s |' "$peer" "$treatment"
            found "$peer" treated.wav 60 1
            found "$peer" treated.wav 15 6
            found "$peer" treated.wav 4 20
            found "$peer" treated.wav 2 20
            echo
        done
        printf '| %s | not marked |' "$peer"
        found "$peer" in.wav 60 1
        found "$peer" in.wav 15 6
        found "$peer" in.wav 4 20
        found "$peer" in.wav 2 20
        echo
    done
}

measure_time
measure_finding
