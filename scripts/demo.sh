#!/usr/bin/env bash
# Marks a speech and a music recording, sends both through MP3 at 64 kbit/s, and looks for the mark.
# Succeeds if the mark is found where it is, and neither in the originals nor with another key.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
out=$target/demo
mkdir -p "$out"
rm -f "$out"/*

# A registry of its own: what earlier versions of the plugin left in the user's one does not matter.
export GST_PLUGIN_PATH=$target/release GST_REGISTRY=$out/registry.bin LC_ALL=C

new_key() {
    (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' > "$1")
}

mark() {
    echo "\$ gst-launch-1.0 filesrc location=$1 ! decodebin ! audioconvert ! wmembed key-file=station.key" \
        "! audioconvert ! lamemp3enc target=bitrate bitrate=64 cbr=true ! filesink location=${2##*/}"
    gst-launch-1.0 -q filesrc location="$1" ! decodebin ! audioconvert ! wmembed key-file="$out/station.key" \
        ! audioconvert ! lamemp3enc target=bitrate bitrate=64 cbr=true ! filesink location="$2"
}

# Writes what gst-launch-1.0 prints, the messages of wmdetect among it, to $out/messages.
listen() {
    if ! gst-launch-1.0 -m filesrc location="$1" ! decodebin ! audioconvert ! wmdetect key-file="$2" \
        ! fakesink sync=false > "$out/messages" 2>&1; then
        cat "$out/messages" >&2
        exit 1
    fi
}

# Tells the first message with state=found in plain words; fails if there is none.
tell_found() {
    awk "$(cat scripts/field.awk)"'
        / wmdetect, / && field("state") == "found" {
            found = 1
            begin = field("timestamp") / 1e9
            printf "FOUND in the audio from %.1f s to %.1f s, score %.1f\n", \
                begin, begin + field("duration") / 1e9, field("score")
            printf "%22s(an hour of unmarked audio reaches it with a probability of 10^%.0f)\n", "", field("log10-p")
            exit
        }
        END { exit !found }
    ' "$out/messages"
}

failures=0
expect() {
    local expected=$1 what=$2 file=$3 key=$4 told got=nothing
    listen "$file" "$key"
    if told=$(tell_found); then
        got=mark
    else
        told="nothing found"
    fi
    printf '%-20s  %s\n' "$what" "$told"
    if [ "$got" != "$expected" ]; then
        printf "%22s^ WRONG, expected: %s\n" "" "$expected"
        failures=$((failures + 1))
    fi
}

new_key "$out/station.key"
new_key "$out/other.key"

for name in speech music; do
    original=tests/data/$name.flac
    marked=$out/$name.mp3
    mark "$original" "$marked"
    expect mark "marked MP3" "$marked" "$out/station.key"
    expect nothing "same, another key" "$marked" "$out/other.key"
    expect nothing "unmarked original" "$original" "$out/station.key"
    echo
done

if [ "$failures" -ne 0 ]; then
    echo "demo: $failures of 6 results are wrong" >&2
    exit 1
fi
echo "The mark was found where it is and nowhere else. To listen: $out/speech.mp3 and $out/music.mp3"
