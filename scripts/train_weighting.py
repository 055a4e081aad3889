#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Trains the weights that the detector gives the cells of the audio, on your own recordings.

Marks every recording with wmembed, damages pieces of the copies (codecs, filters, noise, a
simulated room), and cuts 2 s out of each, a third of them with 4 s that the detector would
have heard before. With these it trains the small network of src/watermark/weighting.rs, so
that the score of the 2 s becomes as high as it can. Some recordings are held out: how the
network does on these is what the table shows. Then it writes the numbers as Rust; build the
plugin again to use them.

It needs the plugin (`make build`), ffmpeg, the tools of GStreamer, and packages of Python:

    pip install numpy blake3 jax optax

A segment takes 2 MB of memory. The same files in the same order with the same seed, on the
same machine, give the same numbers.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import sys
import tempfile

try:
    import numpy as np
    import train_weighting_cells as cells
    import train_weighting_network as network
except ImportError as error:
    sys.exit(f"train_weighting: {error.name} is missing: pip install numpy blake3 jax optax")

import robustness
import robustness_attacks as attacks
import robustness_room as room
import train_weighting_selftest

OUTPUT = robustness.PROJECT / "src" / "watermark" / "weighting_network.rs"

SHARES = {"room": 0.5, "codec": 0.23, "part": 0.15, "filter": 0.12}
"""How many of the segments are damaged by each kind of attack."""
TELEPHONE = {"GSM": 5, "AMR 12.2 kbit/s": 4}
"""The codecs where most is to be gained come so many times as often as others."""
HISTORY = 4.0
"""Seconds that the detector has heard before a segment ..."""
WITH_HISTORY = 0.35
"""... in so many of them. Others begin as a recording does."""

# More than robustness.py tries: where the mark hardly survives there is most to learn.
MORE_CODECS = [
    ("AMR 12.2 kbit/s", "-ac 1 -ar 8000 -c:a libopencore_amrnb -b:a 12.2k", "amr", 8000),
]
MORE_PARTS = [
    ("white noise, 10 dB", attacks.add_noise(room.white_noise, 10)),
    ("white noise, 5 dB", attacks.add_noise(room.white_noise, 5)),
    ("pink noise, 5 dB", attacks.add_noise(room.pink_noise, 5)),
]


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="recordings", help="two or more, of 8.5 s or longer each")
    add("--segments", type=int, default=600, help="segments to train with (default 600)")
    add("--steps", type=int, default=1400, help="steps of the training (default 1400)")
    add("--hidden", type=int, default=16, help="hidden units of the network (default 16)")
    add("--seed", type=int, default=1, help="number from which all random choices follow")
    add("--held", type=int, help="recordings that only serve for the table (default a quarter)")
    add("--output", type=pathlib.Path, default=OUTPUT, help="where to write the Rust file")
    add("--jobs", type=int, default=os.cpu_count(), help="how much is done at the same time")
    add("--self-test", action="store_true", help="check features and training, and end")
    arguments = parser.parse_args()
    counts = (arguments.segments, arguments.steps, arguments.hidden, arguments.jobs)
    if min(counts) < 1 or arguments.seed < 0:
        parser.error("--seed must be at least 0, the other numbers at least 1")
    if arguments.self_test:
        return arguments
    if len(arguments.files) < 2:
        parser.error("at least two recordings are needed: some are held out")
    if arguments.held is None:
        arguments.held = max(1, len(arguments.files) // 4)
    if not 1 <= arguments.held < len(arguments.files):
        parser.error("--held must be at least 1 and leave a recording to train with")
    arguments.output = arguments.output.absolute()
    if not arguments.output.parent.is_dir():
        parser.error(f"there is no directory {arguments.output.parent}")
    return arguments


def available_attacks():
    """Attacks by kind: for each kind their names and what makes them."""
    known = attacks.all_attacks()
    known.update((codec[0], ("codec", codec)) for codec in MORE_CODECS)
    known.update((part[0], ("part", part)) for part in MORE_PARTS)
    by_kind = {kind: {} for kind in SHARES}
    for name, (kind, entry) in known.items():
        missing = attacks.missing_encoder(entry) if kind == "codec" else None
        if missing:
            print(f"{name}: left out, ffmpeg has no encoder {missing}")
        else:
            by_kind[kind][name] = entry
    return by_kind


def tempo_of(kind, entry):
    """Seconds of the programme in a second of what comes out of an attack."""
    change = re.search(r"atempo=([\d.]+)", entry[1]) if kind == "filter" else None
    return float(change.group(1)) if change else 1.0


def row_of_table(kind, name, entry):
    """Where an attack is in the table."""
    if kind == "room":
        return f"room, {entry[1]:2} dB"
    if kind == "codec":
        return "telephone, GSM and AMR" if name in TELEPHONE else "other codecs"
    if kind == "part":
        return "noise and dropouts"
    return "tempo" if tempo_of(kind, entry) != 1 else "filters and none"


def damage(piece, kind, entry, others, random, base):
    """Damage a piece of a marked recording (mono, room.RATE): (sample rate, mono samples).

    `others` are recordings for the talkers in the room, `base` begins the names of files.
    """
    path = base.with_name(f"{base.name}.wav")
    robustness.write_wav(path, piece[:, None], room.RATE)
    rate, heard = attacks.damage_whole((kind, entry), path, 1, f"{base}.coded")
    if kind == "part":
        heard = entry[1](heard, random)
    for leftover in base.parent.glob(f"{base.name}.*"):
        leftover.unlink()
    heard = heard[:, 0]
    if kind == "room":
        seconds = len(piece) / room.RATE
        seed = int(random.integers(1 << 32))
        recorded = room.record_in_room(heard, 0.0, seconds, entry[0], [entry[1]], others, seed)
        return room.MICROPHONE_RATE, recorded[0]
    return rate, heard


def make_segment(task):
    """Cut a random piece, damage it at random: (row of the table, segment or None)."""
    number, seed, recording, others, by_kind, signs, scratch = task
    random = np.random.default_rng(attacks.seed_of(seed, number, "segment"))
    kind = random.choice(list(SHARES), p=list(SHARES.values()))
    names = list(by_kind[kind])
    often = np.array([TELEPHONE.get(name, 1) for name in names])
    name = random.choice(names, p=often / often.sum())
    entry = by_kind[kind][name]
    history = HISTORY if random.uniform() < WITH_HISTORY else 0.0
    seconds = history + cells.SECONDS + 2 * cells.MARGIN
    begin = random.uniform(0, recording["seconds"] - seconds)
    cut = f"atrim={begin:.6f}:{begin + seconds:.6f}"
    piece = attacks.read_audio(recording["marked"], 1, room.RATE, cut)[:, 0]
    base = scratch / f"segment-{number}"
    rate, heard = damage(piece, kind, entry, others, random, base)
    tempo = tempo_of(kind, entry)
    segment = cells.segment_of(heard, rate, begin, tempo, history, signs)
    return row_of_table(kind, name, entry), segment


def make_segments(recordings, count, seed, by_kind, jobs, scratch):
    """About `count` segments of recordings: list of (row of the table, segment)."""
    signs = cells.signs_of(bytes.fromhex(robustness.KEY))
    tasks = []
    for number in range(count):
        recording = recordings[number % len(recordings)]
        others = [other["mono"] for other in recordings if other is not recording]
        tasks.append((number, seed, recording, others, by_kind, signs, scratch))
    made = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(make_segment, tasks):
            made.append(result)
            progress(f"{len(made)} of {count} segments")
    progress("")
    found = [result for result in made if result[1] is not None]
    print(f"{len(found)} segments of {len(recordings)} recordings; ", end="")
    print(f"{count - len(found)} left out, where the signs were not found at all")
    if not found:
        robustness.fail("no segment is left")
    return found


def progress(text):
    """Tell somebody who watches how far it is."""
    if sys.stderr.isatty():
        print(f"\r{text:40}\r", end="", file=sys.stderr, flush=True)


def train(segments, arguments):
    """Train a network, telling about it now and then."""
    every = max(1, arguments.steps // 10)
    losses = []

    def tell(number, loss):
        losses.append(loss)
        if number % every == 0:
            print(f"step {number}: loss {np.mean(losses[-every:]):.3f}", flush=True)

    random = np.random.default_rng(attacks.seed_of(arguments.seed, "network"))
    return network.train(segments, arguments.hidden, arguments.steps, random, tell)


def print_table(held, networks):
    """Scores of held-out segments by kind of damage, for each of the networks by name."""
    segments = [segment for _, segment in held]
    scores = {name: network.evaluate(numbers, segments) for name, numbers in networks.items()}
    kinds = np.array([kind for kind, _ in held])
    print(f"\nrecordings held out: mean score (geometric) of 2 s, share above {network.FOUND}")
    print(f"{'':24}{'segments':>8}" + "".join(f"{name:>20}" for name in scores))
    for kind in [*sorted(set(kinds)), "all"]:
        inside = np.full(len(kinds), True) if kind == "all" else kinds == kind
        print(f"{kind:24}{inside.sum():8}", end="")
        for score in scores.values():
            mean = np.exp(np.log(np.maximum(score[inside], 1)).mean())
            print(f"{mean:13.2f}{100 * np.mean(score[inside] > network.FOUND):5.0f} %", end="")
        print()


def run(arguments, scratch):
    """Do everything; returns the network."""
    paths = [pathlib.Path(file).absolute() for file in arguments.files]
    recordings = robustness.read_recordings(paths, scratch)
    by_kind = available_attacks()
    for index, recording in enumerate(recordings):
        recording["marked"] = scratch / f"{index}-marked.wav"
        robustness.mark(recording["plain"], recording["marked"])
        progress(f"{index + 1} of {len(recordings)} marked")
    random = np.random.default_rng(attacks.seed_of(arguments.seed, "held"))
    mixed = [recordings[index] for index in random.permutation(len(recordings))]
    held, used = mixed[: arguments.held], mixed[arguments.held :]
    print("held out: " + ", ".join(sorted(recording["name"] for recording in held)))

    def segments_of(some, count, seed):
        return make_segments(some, count, seed, by_kind, arguments.jobs, scratch)

    segments = segments_of(used, arguments.segments, arguments.seed)
    # As many of each recording as are used for training.
    count = -(-arguments.segments * len(held) // len(used))
    held_segments = segments_of(held, count, arguments.seed + 1)
    trained = train([segment for _, segment in segments], arguments)
    print_table(held_segments, {"phase alone": network.phase_alone(), "network": trained})
    return trained


def main():
    """Train and write."""
    arguments = parse_arguments()
    if arguments.self_test:
        sys.exit(0 if train_weighting_selftest.run() else 1)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="train-weighting-"))
    try:
        robustness.prepare_gstreamer(scratch)
        trained = run(arguments, scratch)
    except RuntimeError as complaint:
        robustness.fail(complaint)
    finally:
        shutil.rmtree(scratch)
    arguments.output.write_text(network.to_rust(trained))
    print(f"\nwritten: {arguments.output}")


if __name__ == "__main__":
    main()
