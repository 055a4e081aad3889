#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tells how right watermark-time is, on your own recordings.

Marks every recording with wmembed, cuts excerpts of 10 s, and compares the position that each
message of wmdetect tells with where the excerpt was cut out: as it is, played from the start
of the recording, switched to the marked copy in mid-stream, and in a simulated room, where
the position is that of the sound that comes the direct way. "found" is the first message of
an excerpt, "present" are the others, one a second.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys
import tempfile

# First, because it tells how to get numpy.
import robustness

import numpy as np
import robustness_attacks as attacks
import robustness_room as room

SECONDS = 10
CYCLE = 204.8
UNMARKED = 2.0
"""Seconds before the switch to the marked copy."""
ROOMS = [(1.0, 20.0), (3.0, 20.0), (6.0, 20.0), (6.0, 10.0)]
"""Distance (m) and signal-to-noise ratio (dB). The reverberation time is room.RT60."""


def excerpts(recording, plain, marked, index, arguments):
    """Yields (name, sample rate, samples, programme position of the first sample)."""
    random = np.random.default_rng(attacks.seed_of(arguments.seed, index, "times"))
    yield "played from its start", room.RATE, marked[: SECONDS * room.RATE], 0.0
    for number in range(arguments.excerpts):
        start = random.uniform(0.5, recording["seconds"] - SECONDS - robustness.SPARE)
        begin = int(start * room.RATE)
        start = begin / room.RATE
        part = marked[begin : begin + SECONDS * room.RATE]
        yield "none", room.RATE, part, start
        switched = part.copy()
        switch = int(UNMARKED * room.RATE)
        switched[:switch] = plain[begin : begin + switch]
        yield "the mark begins in mid-stream", room.RATE, switched, start
        for distance, ratio in ROOMS:
            name = f"{distance:g} m, {ratio:g} dB"
            seed = attacks.seed_of(arguments.seed, index, number, name)
            heard = room.record_in_room(marked, start, SECONDS, distance, [ratio], [], seed)[0]
            direct = distance / room.SPEED_OF_SOUND
            yield f"room, {name}", room.MICROPHONE_RATE, heard, start - direct


def examine(task):
    """Errors of one recording: (name, state, error, error that is said), in milliseconds."""
    recording, index, arguments, scratch = task
    copy = scratch / f"{index}-marked.wav"
    robustness.mark(recording["plain"], copy)
    marked = attacks.read_audio(copy, 1, room.RATE)[:, 0]
    errors = []
    for number, (name, rate, samples, start) in enumerate(
        excerpts(recording, recording["mono"], marked, index, arguments)
    ):
        path = scratch / f"{index}-{number}.wav"
        robustness.write_wav(path, samples[:, None], rate)
        for fields in robustness.messages(path):
            if fields["state"] == "lost":
                continue
            position = (int(fields["watermark-time"]) - int(fields["timestamp"])) / 1e9
            error = (position - start + CYCLE / 2) % CYCLE - CYCLE / 2
            said = int(fields["watermark-time-error"]) / 1e6
            errors.append((name, fields["state"], error * 1e3, said))
        path.unlink()
    return errors


def print_table(errors):
    """One row for each kind of excerpt."""
    print("Errors in milliseconds: in the middle, in 95 of 100 messages; share within what is said\n")
    print("| | found: middle | 95 % | within | present: middle | 95 % | within |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in dict.fromkeys(error[0] for error in errors):
        row = [name]
        for state in ("found", "present"):
            of_state = np.array([e[2:] for e in errors if e[:2] == (name, state)]).reshape(-1, 2)
            if not len(of_state):
                row += ["-"] * 3
                continue
            sizes, said = np.abs(of_state[:, 0]), of_state[:, 1]
            row += [f"{np.median(sizes):.1f}", f"{np.quantile(sizes, 0.95):.1f}"]
            row += [f"{100 * np.mean(sizes <= said):.0f} %"]
        print("|", " | ".join(row), "|")


def main():
    """Mark, cut, listen, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("files", nargs="+", help=f"recordings, each longer than {SECONDS + 1} s")
    add("--excerpts", type=int, default=4, help="excerpts of each recording (default 4)")
    add("--seed", type=int, default=1, help="number from which all random choices follow")
    add("--jobs", type=int, default=os.cpu_count(), help="how much is done at the same time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = pathlib.Path(directory)
        robustness.prepare_gstreamer(scratch)
        recordings = robustness.read_recordings([pathlib.Path(f) for f in arguments.files], scratch)
        short = [r["name"] for r in recordings if r["seconds"] < SECONDS + 1]
        if short:
            sys.exit(f"times: too short, more than {SECONDS + 1} s are needed: {', '.join(short)}")
        tasks = [(r, index, arguments, scratch) for index, r in enumerate(recordings)]
        with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
            print_table([error for errors in pool.map(examine, tasks) for error in errors])


if __name__ == "__main__":
    main()
