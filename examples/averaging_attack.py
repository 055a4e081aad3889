#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""How many signs of the key can be read off marked audio by somebody who does not have the key?

    GST_PLUGIN_PATH=target/release examples/averaging_attack.py music/*.flac

puts your recordings one behind the other, marks them with wmembed, and attacks the result with
what the wire format tells and nothing else: in windows of 128 ms, what lies in a chip is compared
with itself 160 ms earlier, the real parts are summed over the row, and the sum has the sign of the
chip a little more often than not. With row-clock=stream the signs repeat after a pass of 204.8 s,
and the sums of several passes are added. With row-clock=utc they do not repeat, and what was
learned is compared with the rows to come. The key only serves to count what is right.

With row-clock=utc there is a forger, too: within clock-tolerance it puts the signs that it has just
read off marked audio on other pieces of your recordings, in the simplest way, and wmdetect tells
whether it takes them for marked. The same with signs that were drawn by lot is the control.

Three attackers, from the least to the best informed:
  phase     every bin counts alike, whatever its level;
  energy    bins count by their magnitude to the power 0.15, so that loud rows count more;
  original  has the recordings without the mark, too, to the sample, and looks at the difference.
Each of them knows where the rows begin. That is in their favour, but little: there are 20 places to
try. Where the clock of row-clock=utc stood when the marking began is searched with the key: around
the times before and after, for the place where most signs of the first minute are right.

The audio is marked and attacked at 16 kHz, mono, which holds all of the band of the mark. Use
music, without long pauses. 35 minutes make 10 passes; of more, disjoint groups of
passes are counted. An hour takes two minutes, and 700 MB of disk. Needs Python 3 with numpy and
blake3, and the tools of GStreamer.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

try:
    import blake3
    import numpy as np
except ImportError as error:
    sys.exit(f"averaging_attack: {error.name} is missing: pip install numpy blake3")

RATE = 16000
WINDOW = 2048
"""Samples of a window, 128 ms; its bins are 7.8125 Hz wide."""
HOP = 160
"""Samples from window to window, 10 ms."""
LAG = 16
"""Windows in 160 ms."""
WINDOWS_PER_ROW = 20
ROWS = 1024
"""Rows in a pass."""
CHIPS = 198
BINS_PER_CHIP = 4
FIRST_BIN = 39
"""The first above 300 Hz."""
BINS = slice(FIRST_BIN, FIRST_BIN + CHIPS * BINS_PER_CHIP)
ROW = 0.2
PASS = ROWS * ROW
BLOCK = 64
"""Rows that are worked on at a time."""
COMPRESSION = 0.15
"""Power of the magnitude that a bin counts with, for the attacker `energy`."""
ATTACKERS = ("phase", "energy", "original")
PASSES = (1, 3, 10, 30, 100)
ALIGNMENT_ROWS = 300
"""Rows, a minute, by which the position of the clock is found ..."""
ALIGNED = 0.6
"""... if so many of their signs are right. By chance that is 50.0 +- 0.2 %."""
FORGED_PIECES = 10
FORGED_SECONDS = 20
FORGED_BLOCKS = 2
"""Blocks of rows, 26 s, that are read off for the forged pieces."""
FORGED_GAIN = 0.2
"""Level of the forged mark, relative to the programme."""
FIRST_SIGNS = "+++---+-++-+-++--++++-+--+++--++++-++---+++-+--+"
"""Of row 0 with the key 00 01 02 ... 1f."""


def fail(message):
    """End with a message."""
    sys.exit(f"averaging_attack: {message}")


def signs_of(key, first, rows):
    """Signs of rows from `first` on, each +1 or -1."""
    subkey = blake3.blake3(key, derive_key_context="gst-plugin-wm v1 chip signs").digest()
    stream = blake3.blake3(b"", key=subkey).digest(length=32 * rows, seek=32 * first)
    by_row = np.frombuffer(stream, np.uint8).reshape(rows, 32)
    bits = np.unpackbits(by_row, axis=1, bitorder="little")
    return 1 - 2 * bits[:, :CHIPS].astype(np.int8)


def spectra(audio, first, count):
    """Spectra within the chips of `count` windows; window k has its middle at k HOP."""
    begin = first * HOP - WINDOW // 2
    end = begin + (count - 1) * HOP + WINDOW
    piece = audio[max(begin, 0) : max(end, 0)]
    piece = np.pad(piece, (max(-begin, 0), end - max(begin, 0) - len(piece)))
    windows = np.lib.stride_tricks.sliding_window_view(piece, WINDOW)[::HOP]
    shape = np.sin(np.pi * np.arange(WINDOW) / WINDOW).astype(np.float32)
    return np.fft.rfft(windows * shape, axis=1)[:, BINS]


def correlation(later, earlier, compression=0.0):
    """Real part of later conj earlier, by chip and window, magnitudes to the power `compression`."""
    product = later * earlier.conj()
    magnitude = np.maximum(np.abs(product), 1e-12)
    real = product.real * magnitude ** (compression - 1)
    return real.reshape(len(real), CHIPS, BINS_PER_CHIP).sum(2)


def row_sums(by_window):
    """Sums over the windows of each row."""
    return by_window.reshape(-1, WINDOWS_PER_ROW, CHIPS).sum(1)


def attack(attacker, marked, original, first):
    """Estimates of BLOCK rows, the first of which begins with window `first`."""
    count = BLOCK * WINDOWS_PER_ROW
    heard = spectra(marked, first - LAG, count + LAG)
    later, earlier = heard[LAG:], heard[:-LAG]
    if attacker == "phase":
        return row_sums(correlation(later, earlier))
    if attacker == "energy":
        return row_sums(correlation(later, earlier, COMPRESSION))
    added = heard - spectra(original, first - LAG, count + LAG)
    # The mark now correlates with the programme then, and the programme now with the mark then.
    return row_sums(correlation(added[LAG:], earlier) + correlation(later, added[:-LAG]))


def estimates_of(attacker, marked, original, offset, passes):
    """Estimates of all rows, by pass, row and chip; the first begins with window `offset`."""
    blocks = range(0, passes * ROWS, BLOCK)
    rows = [attack(attacker, marked, original, offset + row * WINDOWS_PER_ROW) for row in blocks]
    return np.concatenate(rows).reshape(passes, ROWS, CHIPS)


def share_right(estimates, signs):
    """Share of the estimates with the right sign; none at all is right half of the time."""
    return np.mean((np.sign(estimates) * signs + 1) / 2)


def shares_of_groups(estimates, signs, passes):
    """The same for every group of so many passes, summed."""
    starts = range(0, len(estimates) - passes + 1, passes)
    return [share_right(estimates[start : start + passes].sum(0), signs) for start in starts]


def align(marked, key, earliest, latest):
    """Window with which a row begins, its number, and the share of signs that says so.

    The audio begins between these two times, in seconds since 1970.
    """
    windows = (ALIGNMENT_ROWS + 1) * WINDOWS_PER_ROW
    heard = spectra(marked, 0, windows + LAG)
    by_window = np.pad(correlation(heard[LAG:], heard[:-LAG]), ((LAG, 0), (0, 0)))
    first = int(earliest / ROW)
    signs = signs_of(key, first, int(latest / ROW) - first + ALIGNMENT_ROWS + 2)
    best = (0.0, 0, 0)
    for offset in range(WINDOWS_PER_ROW):
        estimates = row_sums(by_window[offset:][: ALIGNMENT_ROWS * WINDOWS_PER_ROW])
        for row in range(len(signs) - ALIGNMENT_ROWS):
            share = share_right(estimates, signs[row : row + ALIGNMENT_ROWS])
            best = max(best, (share, offset, first + row))
    share, offset, row = best
    return offset, row, share


def add_mark(audio, signs, first=0, lead=0.0):
    """Mark audio with rows of signs: add what was 160 ms earlier. Row `first` begins at `lead`."""
    early = np.pad(audio, (LAG * HOP, 0))
    marked = audio.astype(np.float32)
    shape = np.sin(np.pi * np.arange(WINDOW) / WINDOW)
    for start in range(0, len(audio) - WINDOW, WINDOW // 2):
        now, partner = [
            np.fft.rfft(part[start : start + WINDOW] * shape)[BINS] for part in (audio, early)
        ]
        row = int(np.floor(((start + WINDOW / 2) / RATE - lead) / ROW)) + first
        # Not louder than the programme is now.
        scale = np.minimum(1, np.abs(now) / np.maximum(np.abs(partner), 1e-9))
        added = np.zeros(WINDOW // 2 + 1, complex)
        added[BINS] = FORGED_GAIN * partner * scale * np.repeat(signs[row], BINS_PER_CHIP)
        marked[start : start + WINDOW] += np.fft.irfft(added) * shape
    return marked


def launch(output, *elements):
    """Run elements, each a list of words, in gst-launch-1.0; they write to a file."""
    words = [word for element in elements for word in ("!", *element)][1:]
    with open(output, "ab") as file:
        command = ["gst-launch-1.0", "-q", *words, "!", "fdsink", "fd=1"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        fail(f"{' ! '.join(' '.join(element) for element in elements)}: {done.stderr.strip()}")


def prepare_gstreamer(scratch):
    """Fail if GStreamer or the plugin is not there."""
    if not shutil.which("gst-launch-1.0") or not shutil.which("gst-inspect-1.0"):
        fail("gst-launch-1.0 is missing: apt-get install gstreamer1.0-tools")
    os.environ["GST_REGISTRY"] = str(scratch / "registry.bin")
    plugin = "`make build`, then set GST_PLUGIN_PATH=target/release"
    base = "apt-get install gstreamer1.0-plugins-base"
    needed = {"wmembed": plugin, "wmdetect": plugin, "decodebin": base, "rawaudioparse": base}
    for element, remedy in needed.items():
        found = subprocess.run(["gst-inspect-1.0", element], capture_output=True, check=False)
        if found.returncode != 0:
            fail(f"GStreamer does not find the element {element}: {remedy}")


def decode(files, target):
    """Write the recordings to a file, one behind the other."""
    caps = f"audio/x-raw,format=F32LE,rate={RATE},channels=1"
    for file in files:
        if not file.is_file():
            fail(f"{file} is not a file")
        before = target.stat().st_size if target.exists() else 0
        source = ["filesrc", f"location={file}"]
        launch(target, source, ["decodebin"], ["audioconvert"], ["audioresample"], [caps])
        if target.stat().st_size == before:
            fail(f"{file}: there is no audio in it")
    return np.memmap(target, np.float32, mode="r")


def mark(source, target, key, row_clock):
    """Mark a file; returns the times before and after."""
    form = ["pcm-format=f32le", f"sample-rate={RATE}", "num-channels=1"]
    before = time.time()
    launch(
        target,
        ["filesrc", f"location={source}"],
        ["rawaudioparse", "format=pcm", *form],
        ["wmembed", f"key={key.hex()}", f"row-clock={row_clock}"],
    )
    return np.memmap(target, np.float32, mode="r"), before, time.time()


def is_found(audio, scratch, key):
    """Whether wmdetect, with row-clock=utc, takes audio for marked."""
    source = scratch / "piece.raw"
    audio.tofile(source)
    form = f"rawaudioparse format=pcm pcm-format=f32le sample-rate={RATE} num-channels=1"
    detect = f"wmdetect key={key.hex()} row-clock=utc ! fakesink sync=false"
    command = ["gst-launch-1.0", "-m", "filesrc", f"location={source}"]
    command += f"! {form} ! {detect}".split()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"wmdetect: {done.stderr.strip()}")
    return "state=(string)found" in done.stdout


def forge(marked, original, offset, scratch, key):
    """Put the signs of the first rows on other pieces; count those found, and the same by lot."""
    step = BLOCK * WINDOWS_PER_ROW
    blocks = [attack("phase", marked, None, offset + b * step) for b in range(FORGED_BLOCKS)]
    read_off = np.sign(np.concatenate(blocks))
    by_lot = np.random.default_rng(1).choice([-1, 1], read_off.shape)
    length = FORGED_SECONDS * RATE
    starts = np.linspace(60 * RATE, len(original) - length, FORGED_PIECES).astype(int)
    found = [0, 0]
    for start in starts:
        piece = np.array(original[start : start + length])
        for kind, signs in enumerate((read_off, by_lot)):
            found[kind] += is_found(add_mark(piece, signs), scratch, key)
    return found


def attack_stream(original, scratch, key, passes):
    """Table for row-clock=stream."""
    marked, *_ = mark(scratch / "original.raw", scratch / "stream.raw", key, "stream")
    if len(marked) != len(original):
        fail(f"{len(original)} samples were to be marked, but {len(marked)} came out")
    signs = signs_of(key, 0, ROWS)
    columns = [count for count in PASSES if count <= passes]
    print("\nrow-clock=stream: signs that are right (least to most in the groups of passes), %")
    print(f"{'passes':<10}" + "".join(f"{count:>24}" for count in columns))
    for attacker in ATTACKERS:
        estimates = estimates_of(attacker, marked, original, 0, passes)
        line = f"{attacker:<10}"
        for count in columns:
            shares = 100 * np.array(shares_of_groups(estimates, signs, count))
            text = f"{shares.mean():.2f}"
            if len(shares) > 1:
                text += f" ({shares.min():.1f} to {shares.max():.1f})"
            line += f"{text:>24}"
        print(line, flush=True)


def attack_utc(original, scratch, key, passes):
    """Table for row-clock=utc: rows that were heard, and rows to come."""
    marked, before, after = mark(scratch / "original.raw", scratch / "utc.raw", key, "utc")
    offset, row, share = align(marked, key, before - 2, after + 2)
    if share < ALIGNED:
        fail(f"where the clock stood was not found: {100 * share:.1f} % of the signs are right")
    # First of all, since it has to be done within clock-tolerance.
    found, by_lot = forge(marked, original, offset, scratch, key)
    age = time.time() - before
    signs = signs_of(key, row, passes * ROWS).reshape(passes, ROWS, CHIPS)
    print("\nrow-clock=utc: signs that are right, %")
    print(f"{'':<10}{'of the rows heard':>24}{'of the next pass':>24}")
    for attacker in ATTACKERS:
        estimates = estimates_of(attacker, marked, original, offset, passes)
        learned = np.cumsum(estimates, axis=0)
        coming = [share_right(learned[p], signs[p + 1]) for p in range(passes - 1)]
        heard = 100 * share_right(estimates, signs)
        coming = f"{100 * np.mean(coming):.2f}" if coming else "one pass only"
        print(f"{attacker:<10}{heard:>24.2f}{coming:>24}", flush=True)
    print(
        f"forged within {age:.0f} s, other pieces of {FORGED_SECONDS} s: "
        f"{found} of {FORGED_PIECES} found; with signs by lot {by_lot}"
    )


def self_test():
    """Check the attack on synthetic numbers; needs neither recordings nor GStreamer."""
    random = np.random.default_rng(1)
    key = bytes(range(32))
    checks = []
    text = "".join("+" if sign > 0 else "-" for sign in signs_of(key, 0, 1)[0, :48])
    checks.append(("signs of row 0", float(text == FIRST_SIGNS), 1, 0))
    far = signs_of(key, 8_900_000_000, 2)
    checks.append(("rows by number", np.mean(far[1] == signs_of(key, 8_900_000_001, 1)), 1, 0))

    # Estimates s + n, n normal with a deviation of 1: the share after p passes is Phi(sqrt p).
    signs = signs_of(key, 0, ROWS)
    estimates = signs + random.standard_normal((10, ROWS, CHIPS))
    for passes, share in ((1, 0.8413), (3, 0.9584), (10, 0.9992)):
        found = np.mean(shares_of_groups(estimates, signs, passes))
        checks.append((f"normal numbers, {passes} passes", found, share, 0.002))
    checks.append(("silence", share_right(0 * estimates[0], signs), 0.5, 0))
    checks.append(("other rows", share_right(estimates[0], signs_of(key, ROWS, ROWS)), 0.5, 0.004))

    # Noise with a simple mark. Row 5 begins at 70 ms.
    seconds, first, lead = (ALIGNMENT_ROWS + 4) * ROW, 5, 0.07
    original = random.standard_normal(int(seconds * RATE)).astype(np.float32)
    marked = add_mark(original, signs, first, lead)
    offset, row, share = align(marked, key, 0, 20 * ROW)
    checks.append(("aligned: first window of a row", offset, 7, 1))
    checks.append(("aligned: row", row, first, 0))
    checks.append(("aligned: share", share, 0.63, 0.03))
    for attacker, wanted in (("phase", 0.63), ("energy", 0.63), ("original", 0.99)):
        share = share_right(attack(attacker, marked, original, 7), signs[first : first + BLOCK])
        checks.append((f"{attacker} on noise", share, wanted, 0.03))
    nothing = share_right(attack("phase", original, original, 7), signs[first : first + BLOCK])
    checks.append(("unmarked noise", nothing, 0.5, 0.02))

    wrong = 0
    for name, value, wanted, margin in checks:
        good = abs(value - wanted) <= margin
        wrong += not good
        print(f"{name:<32}{value:>10.4f}   {'ok' if good else f'WRONG, not {wanted} +- {margin}'}")
    if wrong:
        fail(f"{wrong} of {len(checks)} checks failed")


def main():
    """Attack, or test the attack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="recordings")
    parser.add_argument("--key", help="64 hex digits; drawn anew if not given", type=bytes.fromhex)
    parser.add_argument("--self-test", action="store_true", help="check the attack, and end")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    key = arguments.key or os.urandom(32)
    if len(key) != 32:
        parser.error("--key must have 64 hex digits")
    if not arguments.files:
        parser.error("no recordings are given")
    with tempfile.TemporaryDirectory(prefix="averaging_attack-") as name:
        scratch = pathlib.Path(name)
        prepare_gstreamer(scratch)
        original = decode(arguments.files, scratch / "original.raw")
        seconds = len(original) / RATE
        # With row-clock=utc the first row may begin 0.2 s late.
        passes = int((seconds - 1) / PASS)
        print(f"{len(arguments.files)} recordings, {seconds:.0f} s, {passes} passes of {PASS} s")
        if passes < 1:
            fail(f"the recordings last for {seconds:.0f} s, and {PASS + 1:.0f} s is the least")
        attack_stream(original, scratch, key, passes)
        attack_utc(original, scratch, key, passes)
    return None


if __name__ == "__main__":
    main()
