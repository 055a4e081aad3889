#!/usr/bin/env bash
# Marks recordings, sends them through codecs and noise, tells after how much audio the mark was found, and
# how much processor time the elements take. Arguments: recordings; without any, those of the tests.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
out=$target/measure
mkdir -p "$out"
export GST_PLUGIN_PATH=$target/release GST_REGISTRY=$out/registry.bin LC_ALL=C
gst-inspect-1.0 wmembed > /dev/null
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f

names=("nothing" "MP3 128 kbit/s" "MP3 64 kbit/s" "AAC 64 kbit/s" "Vorbis q 0.3" "Opus 32 kbit/s" "mu-law 8 kHz")
chains=(
    "identity"
    "lamemp3enc target=bitrate bitrate=128 cbr=true ! mpegaudioparse ! avdec_mp3"
    "lamemp3enc target=bitrate bitrate=64 cbr=true ! mpegaudioparse ! avdec_mp3"
    "avenc_aac bitrate=64000 ! aacparse ! avdec_aac"
    "vorbisenc quality=0.3 ! vorbisdec"
    "audioresample ! audio/x-raw,rate=48000 ! opusenc bitrate=32000 ! opusdec"
    "audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! mulawdec"
)

# Tells the first message with state=found, and the highest score of all.
tell() {
    awk "$(cat scripts/field.awk)"'
        / wmdetect, / {
            if (!found && field("state") == "found") {
                found = 1
                after = (field("timestamp") + field("duration")) / 1e9
            }
            if (field("score") + 0 > score) score = field("score") + 0
        }
        END { if (found) printf "found after %.1f s, highest score %.1f\n", after, score; else print "not found" }
    '
}

measure_finding() {
    local file=$1 i
    echo "$file"
    gst-launch-1.0 -q filesrc location="$file" ! decodebin ! audioconvert ! wmembed key=$key \
        ! audio/x-raw,format=F32LE ! wavenc ! filesink location="$out/marked.wav"
    for i in "${!names[@]}"; do
        printf '  %-16s ' "${names[i]}"
        # The chain is to be split into words.
        # shellcheck disable=SC2086
        gst-launch-1.0 -m filesrc location="$out/marked.wav" ! wavparse ! audioconvert ! ${chains[i]} \
            ! audioconvert ! wmdetect key=$key ! fakesink sync=false | tell
    done
    printf '  %-16s ' "not marked"
    gst-launch-1.0 -m filesrc location="$file" ! decodebin ! audioconvert ! wmdetect key=$key \
        ! fakesink sync=false | tell
}

# Processor seconds of a pipeline over 60 s of stereo pink noise at 48 kHz.
seconds() {
    local TIMEFORMAT='%U'
    { time gst-launch-1.0 -q audiotestsrc wave=pink-noise samplesperbuffer=480 num-buffers=6000 \
        ! audio/x-raw,format=F32LE,rate=48000,channels=2 ! "$@" ! fakesink sync=false > /dev/null; } 2>&1
}

# Name of what is measured, and the element with its properties.
measure_speed() {
    local name=$1 without with
    shift
    without=$(seconds identity)
    with=$(seconds "$@")
    awk -v name="$name" -v with="$with" -v without="$without" \
        'BEGIN { printf "%-32s %.3g times real time on one core\n", name, 60 / (with - without) }'
}

# So many keys, in the form of the property keys.
keys() {
    local i keys=
    for i in $(seq "$1"); do
        keys+="${keys:+,}$(printf '%064x' "$i")"
    done
    echo "<$keys>"
}

files=("$@")
[ ${#files[@]} -gt 0 ] || files=(tests/data/speech.flac tests/data/music.flac)
for file in "${files[@]}"; do
    measure_finding "$file"
done
echo "48 kHz, stereo, 32-bit float"
measure_speed wmembed wmembed key=$key
measure_speed wmdetect wmdetect key=$key
for n in 10 100; do
    measure_speed "wmdetect, $n keys" wmdetect keys="$(keys $n)"
    measure_speed "wmdetect, $n keys, one speed" wmdetect keys="$(keys $n)" max-speed-deviation=0
done
for minutes in 2 60 1440; do
    measure_speed "wmdetect by utc, $minutes min" wmdetect key=$key row-clock=utc \
        clock-tolerance=$((minutes * 60))000000000
done
