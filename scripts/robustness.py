#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tells what the mark survives, on your own recordings.

Marks every recording with wmembed, damages the copy (codecs, filters, noise, a simulated
room), cuts excerpts, and looks for the mark with wmdetect in the first 2, 4 and 8 s of each
excerpt. The elements run in gst-launch-1.0 with default properties. The same is done with
the recordings as they were before marking: nothing may be found there.

2, 4 and 8 s are separate runs on files of exactly this length, the first part of the same
excerpt, so "found within 2 s" says that 2 s of audio suffice. The time that the detector
names as the end of its evidence, in the 8 s, is in results.json as "found_after". It may
be a little earlier than what the detector needed to get there, so it does not count here.

With --payload the mark carries these 8 hex digits, and there are more runs: was the payload
read in 3, 4, 6, 8 and 15 s? Excerpts are of 15 s then, if the recording is long enough. Any
other payload that is reported, from whatever excerpt, is called wrong, and the exit status
is 1.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import wave

try:
    import numpy as np
except ImportError:
    sys.exit("robustness: numpy is missing: apt-get install python3-numpy, or pip install numpy")

import robustness_attacks as attacks
import robustness_report
import robustness_room as room
import robustness_selftest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
LENGTHS = (2, 4, 8)
"""Seconds of audio that the detector gets."""
READ_LENGTHS = (3, 4, 6, 8, 15)
"""The same for the payload."""
SPARE = 0.5
"""A recording is longer than an excerpt by so many seconds; at tempo +1 % it gets shorter."""
LONGEST = 300
"""Seconds of a recording that are used."""


def fail(message):
    """End with a message."""
    sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: {message}")


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("files", nargs="*", help="recordings; without any, those in tests/data")
    add("--excerpts", type=int, default=4, help="excerpts of each recording (default 4)")
    add("--seed", type=int, default=1, help="number from which all random choices follow")
    add("--jobs", type=int, default=os.cpu_count(), help="how much is done at the same time")
    add("--out", type=pathlib.Path, help="directory for results.json and robustness.svg")
    add("--attacks", default="", help="only those whose name matches this regular expression")
    add("--no-plot", action="store_true", help="draw nothing")
    add("--plot-only", action="store_true", help="tables and plot from results.json in --out")
    add("--payload", help="8 hex digits that the mark carries; tells when they were read")
    add("--keep", action="store_true", help="keep the excerpts, to listen to them")
    add("--self-test", action="store_true", help="check the simulated room, and end")
    arguments = parser.parse_args()
    if arguments.excerpts < 1 or arguments.jobs < 1 or arguments.seed < 0:
        parser.error("--excerpts and --jobs must be at least 1, --seed at least 0")
    if arguments.payload is not None:
        arguments.payload = arguments.payload.lower()
        if not re.fullmatch("[0-9a-f]{8}", arguments.payload):
            parser.error("--payload must be 8 hex digits, such as 00c0ffee")
    return arguments


def prepare_gstreamer(out):
    """Let GStreamer find the plugin that was built here; fail if it does not."""
    release = (PROJECT / TARGET / "release").resolve()
    if not (release / "libgstwm.so").exists():
        fail(f"there is no {release}/libgstwm.so; run `make build` first")
    for program in ("gst-launch-1.0", "gst-inspect-1.0", "ffmpeg"):
        if not shutil.which(program):
            package = "ffmpeg" if program == "ffmpeg" else "gstreamer1.0-tools"
            fail(f"{program} is missing: apt-get install {package}")
    os.environ["GST_PLUGIN_PATH"] = str(release)
    os.environ["GST_REGISTRY"] = str(out / "registry.bin")
    for element in ("wmembed", "wmdetect", "wavparse", "wavenc"):
        found = subprocess.run(["gst-inspect-1.0", element], capture_output=True, check=False)
        if found.returncode != 0:
            fail(f"GStreamer does not find the element {element}")


def mark(source, target, payload=None):
    """Mark a WAV file, with a payload if there is one."""
    run_pipeline(
        ["filesrc", f"location={source}"],
        ["wavparse"],
        ["audioconvert"],
        ["wmembed", f"key={KEY}", *([f"payload={payload}"] if payload else [])],
        ["audio/x-raw,format=F32LE"],
        ["wavenc"],
        ["filesink", f"location={target}"],
    )


def run_pipeline(*elements):
    """Run elements, each a list of words, in gst-launch-1.0; returns what it prints."""
    words = [word for element in elements for word in ("!", *element)][1:]
    command = ["gst-launch-1.0", "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"gst-launch-1.0: {done.stderr.strip()}")
    return done.stdout


def messages(path):
    """What wmdetect says of a WAV file: the fields of each message, as text."""
    printed = run_pipeline(
        ["filesrc", f"location={path}"],
        ["wavparse"],
        ["audioconvert"],
        ["wmdetect", f"key={KEY}"],
        ["fakesink", "sync=false"],
    )
    for line in printed.splitlines():
        if " wmdetect, " in line:
            yield dict(re.findall(r"[ ,]([a-z0-9-]+)=\([a-z0-9]+\)([^,;]+)", line))


def detect(path):
    """Look for the mark in a WAV file.

    Returns seconds of audio after which it was found, or None, the highest score that was
    reported, or None, and the set of payloads that were reported.
    """
    found_after, scores, payloads = None, [], set()
    for fields in messages(path):
        scores.append(float(fields["score"]))
        if "payload" in fields:
            payloads.add(fields["payload"].strip('"'))
        if fields["state"] == "found" and found_after is None:
            found_after = (int(fields["timestamp"]) + int(fields["duration"])) / 1e9
    return found_after, max(scores, default=None), payloads


def write_wav(path, samples, rate):
    """Write samples as 16 bits; what is beyond full scale is clipped."""
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())


def read_recordings(paths, scratch):
    """Decode all recordings; ends with a list of those that are of no use.

    Returns for each its name, length (seconds), number of channels, the path of a WAV file
    at its own sample rate, and a mono version at room.RATE.
    """
    recordings, complaints = [], []
    for index, path in enumerate(paths):
        plain = scratch / f"{index}-plain.wav"
        try:
            attacks.run_ffmpeg(
                ["-t", str(LONGEST), "-i", str(path), "-vn", "-map", "0:a:0"]
                + ["-af", "aformat=channel_layouts=mono|stereo", "-c:a", "pcm_f32le", str(plain)]
            )
            mono = attacks.read_audio(plain, 1, room.RATE)[:, 0]
        except RuntimeError as error:
            complaints.append(f"{path} cannot be read: {str(error).removeprefix(f'{path}: ')}")
            continue
        # The module wave does not read floats. Bytes 22 and 23 of a WAV file are the channels.
        with plain.open("rb") as file:
            channels = int.from_bytes(file.read(24)[22:24], "little")
        seconds = len(mono) / room.RATE
        shortest = max(LENGTHS) + SPARE
        if seconds < shortest:
            complaints.append(f"{path} is too short: {seconds:.1f} s, needed are {shortest} s")
        elif room.band_power(mono) < 1e-9:
            complaints.append(f"{path} is silent")
        recordings.append(
            {
                "name": path.stem,
                "seconds": seconds,
                "channels": channels,
                "plain": plain,
                "mono": mono,
            }
        )
    if complaints:
        fail("\n            ".join(complaints))
    names = [recording["name"] for recording in recordings]
    for index, recording in enumerate(recordings):
        if names.count(recording["name"]) > 1:
            recording["name"] += f" ({index + 1})"
    return recordings


def lengths_of(recording, arguments):
    """Seconds of audio that the detector gets of this recording, the longest last."""
    if arguments.payload is None:
        return LENGTHS
    wanted = sorted({*LENGTHS, *READ_LENGTHS})
    return [length for length in wanted if length + SPARE <= recording["seconds"]]


def excerpt_starts(recording, index, arguments):
    """Where the excerpts begin, in seconds: one at random in each of equal parts."""
    random = np.random.default_rng(attacks.seed_of(arguments.seed, index, "start"))
    places = np.arange(arguments.excerpts) + random.uniform(size=arguments.excerpts)
    spare = recording["seconds"] - lengths_of(recording, arguments)[-1]
    return places / arguments.excerpts * spare


def excerpts_of(recording, index, marked, names, others, arguments, scratch):
    """Damage a recording by attacks that share their making.

    Yields (name of the attack, number of the excerpt, start, sample rate, samples).
    """
    known = attacks.all_attacks()
    kind, entry = known[names[0]]
    path = recording["marked" if marked else "plain"]
    channels = 1 if kind == "room" else recording["channels"]
    rate, whole = attacks.damage_whole((kind, entry), path, channels, scratch)
    seconds = lengths_of(recording, arguments)[-1]
    for number, start in enumerate(excerpt_starts(recording, index, arguments)):
        # Where tempo was changed, the same part of the programme is elsewhere.
        length = len(whole) / rate
        moved = start * (length - seconds) / (recording["seconds"] - seconds)
        begin = int(moved * rate)
        if kind == "room":
            seed = attacks.seed_of(arguments.seed, index, number, "room")
            ratios = [known[name][1][1] for name in names]
            heard = room.record_in_room(whole[:, 0], start, seconds, entry[0], ratios, others, seed)
            for name, recorded in zip(names, heard):
                yield name, number, start, room.MICROPHONE_RATE, recorded[:, None]
            continue
        part = whole[begin : begin + seconds * rate]
        if kind == "part":
            seed = attacks.seed_of(arguments.seed, index, number, names[0])
            part = entry[1](part, np.random.default_rng(seed))
        yield names[0], number, start, rate, part


def examine(task):
    """Damage one recording in one way, look for the mark; returns a list of results."""
    recording, index, marked, names, others, arguments, scratch = task
    results = []
    lengths, payload = lengths_of(recording, arguments), arguments.payload
    state = "marked" if marked else "plain"
    base = scratch / re.sub(r"\W+", "-", f"{index} {recording['name']} {state} {names[0]}")
    for name, number, start, rate, samples in excerpts_of(
        recording, index, marked, names, others, arguments, base
    ):
        found, read, wrong = {}, {}, set()
        for length in lengths:
            label = re.sub(r"\W+", "-", f"{index} {recording['name']} {state} {name} {number}")
            path = scratch / f"{label}-{length}s.wav"
            write_wav(path, samples[: length * rate], rate)
            found_after, score, payloads = detect(path)
            wrong |= payloads - ({payload} if marked else set())
            if length in LENGTHS:
                found[str(length)] = found_after is not None
            if length in READ_LENGTHS:
                read[str(length)] = payload in payloads
            if not arguments.keep or length != lengths[-1]:
                path.unlink()
        result = {
            "recording": recording["name"],
            "attack": name,
            "marked": marked,
            "excerpt": number,
            "start": round(float(start), 3),
            "found": found,
            # Of the longest run.
            "found_after": found_after,
            "score": score,
        }
        if payload is not None:
            result |= {"read": read, "wrong_payloads": sorted(wrong)}
        results.append(result)
    for leftover in scratch.glob(f"{base.name}.*"):
        leftover.unlink()
    return results


def select_attacks(pattern):
    """Names of attacks that match, in groups that share their making."""
    try:
        chosen = [name for name in attacks.all_attacks() if re.search(pattern, name)]
    except re.error as error:
        fail(f"--attacks is no regular expression: {error}")
    groups = {}
    for name in chosen:
        kind, entry = attacks.all_attacks()[name]
        missing = attacks.missing_encoder(entry) if kind == "codec" else None
        if missing:
            print(f"{name}: skipped, ffmpeg has no encoder {missing}")
            continue
        groups.setdefault(("room", entry[0]) if kind == "room" else name, []).append(name)
    if not groups:
        fail("no attack matches; the names are: " + "; ".join(attacks.all_attacks()))
    return list(groups.values())


def run(arguments, scratch):
    """Do everything; returns what goes into results.json."""
    begin = time.monotonic()
    data = PROJECT / "tests" / "data"
    paths = [pathlib.Path(file).absolute() for file in arguments.files]
    groups = select_attacks(arguments.attacks)
    recordings = read_recordings(paths or [data / "speech.flac", data / "music.flac"], scratch)
    tasks = []
    for index, recording in enumerate(recordings):
        recording["marked"] = scratch / f"{index}-marked.wav"
        mark(recording["plain"], recording["marked"], arguments.payload)
        others = [other["mono"] for other in recordings if other is not recording]
        for names in groups:
            for marked in (True, False):
                tasks.append((recording, index, marked, names, others, arguments, scratch))
    results = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for count, part in enumerate(pool.map(examine, tasks), 1):
            results += part
            if sys.stderr.isatty():
                print(f"\r{count} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    print("\r", end="", file=sys.stderr)
    outcome = {
        "recordings": [{key: r[key] for key in ("name", "seconds")} for r in recordings],
        "excerpts": arguments.excerpts,
        "seed": arguments.seed,
        "room_metres": room.ROOM_SIZE,
        "rt60": room.RT60,
        "run_time": round(time.monotonic() - begin, 1),
        "results": results,
    }
    return outcome if arguments.payload is None else {"payload": arguments.payload} | outcome


def main():
    """Run, report, and draw."""
    arguments = parse_arguments()
    if arguments.self_test:
        sys.exit(0 if robustness_selftest.run() else 1)
    out = (arguments.out or PROJECT / TARGET / "robustness").absolute()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.json"
    if arguments.plot_only:
        if not results.exists():
            fail(f"there is no {results}; run without --plot-only first")
        outcome = json.loads(results.read_text())
    else:
        prepare_gstreamer(out)
        shutil.rmtree(out / "excerpts", ignore_errors=True)
        (out / "excerpts").mkdir()
        try:
            outcome = run(arguments, out / "excerpts")
        except RuntimeError as error:
            fail(error)
        finally:
            if not arguments.keep:
                shutil.rmtree(out / "excerpts")
        results.write_text(json.dumps(outcome, indent=1) + "\n")
    robustness_report.print_tables(outcome)
    print(f"results: {results}")
    if not arguments.no_plot and robustness_report.draw(outcome, out / "robustness.svg"):
        print(f"plot: {out / 'robustness.svg'}")
    if robustness_report.print_wrong_payloads(outcome):
        sys.exit(1)


if __name__ == "__main__":
    main()
