# SPDX-License-Identifier: MIT OR Apache-2.0
"""What robustness.py does to a recording before it looks for the mark.

An attack damages the whole recording (codecs and filters, by ffmpeg), or each excerpt by
itself (noise and dropouts, which are random), or plays the excerpt in a room. Samples are
arrays of floats, one row for each moment and one column for each channel, full scale 1.
"""

import subprocess
import zlib

import numpy as np
import robustness_room as room

DISTANCES = (1, 3, 6, 8)
"""Metres between loudspeaker and microphone."""
RATIOS = (20, 10, 5)
"""Signal-to-noise ratios at the microphone, dB."""

# Name, arguments for the encoder, ending of the file, sample rate of what comes out.
CODECS = [
    ("MP3 64 kbit/s", "-c:a libmp3lame -b:a 64k", "mp3", 48000),
    ("AAC 64 kbit/s", "-c:a aac -b:a 64k", "m4a", 48000),
    ("Opus 32 kbit/s", "-c:a libopus -b:a 32k", "opus", 48000),
    ("Opus 16 kbit/s, voice", "-ac 1 -c:a libopus -b:a 16k -application voip", "opus", 48000),
    ("GSM", "-ac 1 -ar 8000 -c:a libgsm", "gsm", 8000),
    ("MP2 192 kbit/s", "-c:a mp2 -b:a 192k", "mp2", 48000),
    ("AC-3 192 kbit/s", "-c:a ac3 -b:a 192k", "ac3", 48000),
    ("E-AC-3 96 kbit/s", "-c:a eac3 -b:a 96k", "eac3", 48000),
    ("Bluetooth, SBC 328 kbit/s", "-ar 48000 -c:a sbc -b:a 328k", "sbc", 48000),
    ("mu-law, 8 kHz", "-ac 1 -ar 8000 -c:a pcm_mulaw", "wav", 8000),
]

EQUALISER = ((250, 6), (1000, -6), (4000, 6))
"""Centre (Hz) and gain (dB) of bells two octaves wide."""

# Name, filters of ffmpeg, sample rate of what comes out.
FILTERS = [
    ("none", "anull", 48000),
    ("resampled to 16 kHz", "anull", 16000),
    (
        "equaliser, +-6 dB",
        "volume=-6dB," + ",".join(f"equalizer=f={f}:t=o:w=2:g={g}" for f, g in EQUALISER),
        48000,
    ),
    (
        "compressor, 4 : 1",
        "acompressor=threshold=-30dB:ratio=4:attack=5:release=120:makeup=6dB",
        48000,
    ),
    ("gain, -20 dB", "volume=-20dB", 48000),
    ("tempo, -4 %", "atempo=0.96", 48000),
    ("tempo, +1 %", "atempo=1.01", 48000),
]


def add_noise(make_noise, ratio):
    """A function that adds noise: `ratio` dB below the programme, in the band of the mark."""

    def add(samples, random):
        damaged = samples.copy()
        power = np.mean([room.band_power(channel) for channel in samples.T])
        for channel in damaged.T:
            noise = make_noise(len(channel), random)
            channel += noise * np.sqrt(power) * 10 ** (-ratio / 20)
        # Loud programme with noise on top is turned down, not clipped.
        return damaged / max(np.abs(damaged).max(), 1)

    return add


def drop_out(samples, random):
    """Silence of 50 ms, on average once a second."""
    damaged = samples.copy()
    gap = room.RATE // 20
    place = random.exponential(room.RATE)
    while place < len(samples):
        damaged[int(place) : int(place) + gap] = 0
        place += gap + random.exponential(room.RATE)
    return damaged


# Name, function of samples at room.RATE and a generator of random numbers.
PARTS = [
    ("white noise, 20 dB", add_noise(room.white_noise, 20)),
    ("pink noise, 20 dB", add_noise(room.pink_noise, 20)),
    ("pink noise, 10 dB", add_noise(room.pink_noise, 10)),
    ("dropouts, 50 ms", drop_out),
]


def room_name(distance, ratio):
    """Name of the attack by a room, from metres and dB."""
    return f"room, {distance} m, {ratio} dB"


def all_attacks():
    """All attacks by name, in the order of the table, each with what makes it."""
    attacks = {"none": ("filter", FILTERS[0])}
    attacks.update((codec[0], ("codec", codec)) for codec in CODECS)
    attacks.update((entry[0], ("filter", entry)) for entry in FILTERS[1:])
    attacks.update((part[0], ("part", part)) for part in PARTS)
    for distance in DISTANCES:
        for ratio in RATIOS:
            attacks[room_name(distance, ratio)] = ("room", (distance, ratio))
    return attacks


def missing_encoder(codec):
    """The encoder that this attack needs and the local ffmpeg lacks, or None."""
    words = codec[1].split()
    encoder = words[words.index("-c:a") + 1]
    listing = run_ffmpeg(["-encoders"]).decode()
    return None if f" {encoder} " in listing else encoder


def run_ffmpeg(arguments):
    """Run ffmpeg and return what it writes; raises RuntimeError with its complaint."""
    command = ["ffmpeg", "-hide_banner", "-v", "error", "-nostdin", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(complaint[-1] if complaint else "ffmpeg failed")
    return done.stdout


def read_audio(path, channels, rate, filters="anull"):
    """Decode a file to samples at `rate` with so many channels."""
    wanted = ["-ac", str(channels), "-ar", str(rate), "-f", "f32le", "-"]
    raw = run_ffmpeg(["-i", str(path), "-vn", "-af", filters, *wanted])
    return np.frombuffer(raw, "<f4").reshape(-1, channels)


def damage_whole(attack, path, channels, scratch):
    """Send a recording through a codec or filters: (sample rate, samples)."""
    kind, entry = attack
    if kind == "codec":
        _, arguments, ending, rate = entry
        encoded = f"{scratch}.{ending}"
        run_ffmpeg(["-y", "-i", str(path), *arguments.split(), encoded])
        channels = 1 if "-ac 1" in arguments else channels
        return rate, read_audio(encoded, channels, rate)
    if kind == "filter":
        _, filters, rate = entry
        return rate, read_audio(path, channels, rate, filters)
    return room.RATE, read_audio(path, channels, room.RATE)


def seed_of(*words):
    """A seed from numbers and names, the same in every run and on every machine."""
    return [word if isinstance(word, int) else zlib.crc32(word.encode()) for word in words]
