# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks without recordings: `train_weighting.py --self-test`."""

import numpy as np
import robustness_selftest
import train_weighting_cells as cells
import train_weighting_network as network

RATE = 16000
KEY = bytes(range(32))
GAIN = 0.15
"""Level of the mark, relative to what it is put on."""
NOISE = 0.05
"""Level of steady noise in the upper half of the band, where the programme is at 0.0001 to 0.1."""
FIRST = "+++---+-++-+-++--++++-+--+++--++++-++---+++-+--+"
LAST = "--++-+----+-++++---+++--++--++-+------+-+-+--+++"
"""Signs of chips 0 to 47 with the key 00 01 02 ... 1f, in rows 0 and 1023."""
SEGMENTS, HELD = 26, 8
"""Segments in all, and those of them that are not trained with."""


def programme(seconds, random):
    """Noise that comes and goes some times a second, a little as speech does."""
    length = int(seconds * RATE)
    knots = random.uniform(-3, 0, int(seconds * 6) + 2)
    rhythm = np.interp(np.arange(length) / RATE * 6, np.arange(len(knots)), knots)
    return 0.1 * random.standard_normal(length) * 10**rhythm


def mark(audio, signs):
    """Add what was 160 ms earlier, chip by chip with the sign of the row; begins at 0 s."""
    delay = int(cells.DELAY * RATE)
    early = np.concatenate([np.zeros(delay), audio])[: len(audio)]
    window = cells.window_of(RATE)
    size = len(window)
    marked = audio.copy()
    bins = slice(cells.FIRST_BIN, cells.FIRST_BIN + cells.BINS)
    for start in range(0, len(audio) - size, size // 2):
        spectrum = np.fft.rfft(early[start : start + size] * window)
        row = cells.rows_at((start + size / 2) / RATE)
        mark_alone = np.zeros_like(spectrum)
        mark_alone[bins] = spectrum[bins] * signs[row, cells.CHIP_OF_BIN]
        marked[start : start + size] += GAIN * np.fft.irfft(mark_alone) * window
    return marked


def synthetic_segment(seed, signs):
    """A segment of marked noise, with steady noise on top of half of the band."""
    random = np.random.default_rng([seed, 7])
    audio = mark(programme(cells.SECONDS + 2 * cells.MARGIN, random), signs)
    spectrum = np.fft.rfft(NOISE * random.standard_normal(len(audio)))
    spectrum[: len(spectrum) // 2] = 0
    return cells.segment_of(audio + np.fft.irfft(spectrum), RATE, 0.0, 1.0, 0.0, signs)


def check_signs():
    """The first chips of the first and the last row, as the element draws them."""
    signs = cells.signs_of(KEY)
    for row, wanted in ((0, FIRST), (cells.ROWS - 1, LAST)):
        bits = "".join("+" if sign > 0 else "-" for sign in signs[row, : len(wanted)])
        yield f"signs of row {row}", float(bits == wanted), 1.0, 0.0


def check_features():
    """Finite whatever comes; the same at any level; bounded."""
    random = np.random.default_rng(1)
    audio = programme(7.0, random)
    gap = audio.copy()
    gap[RATE : 2 * RATE] = 0
    extremes = (audio * 0, gap, audio * 1e6, audio * 1e-9)
    all_features = [cells.features_of(cells.spectra(signal, RATE)) for signal in extremes]
    finite = all(np.isfinite(features).all() for features in all_features)
    yield "features of extremes are finite", float(finite), 1.0, 0.0
    soft, loud = [
        cells.features_of(cells.spectra(signal, RATE)) for signal in (audio * 0.01, audio)
    ]
    yield "features at -40 dB, difference", float(np.abs(soft - loud).max()), 0.0, 0.01
    yield "features, largest", float(np.abs(loud).max()), cells.RATIO / 2, cells.RATIO / 2
    telephone = cells.features_of(cells.spectra(audio[::2], RATE // 2))
    yield "bins at 8 kHz", telephone.shape[1], 512 - cells.FIRST_BIN, 0


def check_lowest():
    """A pause is forgotten after 4.5 to 6 s."""
    cell = np.where(np.arange(500) < 10, 1.0, 2.0)[:, None]
    lowest = cells.lowest_of(cell, cells.HOP)[:, 0]
    forgotten = np.flatnonzero(lowest > 1.5)[0] * cells.HOP
    yield "lowest power forgotten after, s", forgotten, 5.25, 0.75


def check_fold(segment):
    """The Rust file has the same weights but for a common factor, which changes no score."""
    random = np.random.default_rng(2)
    trained = network.first_guess(5, random)
    trained["OUTPUT_WEIGHTS"] = trained["OUTPUT_WEIGHTS"] * 10
    trained["OUTPUT_DIRECT"] = random.normal(0, 0.1, cells.FEATURES).astype(np.float32)
    mean, deviation = network.spread_of([segment])
    features = segment.features.astype(np.float32)
    wanted = network.log_weights(trained, (features - mean) / deviation)
    text = network.to_rust(network.fold(trained, mean, deviation))
    written = network.log_weights(network.from_rust(text), features)
    difference = np.asarray(wanted - written)
    yield "Rust file, error of a weight", float(np.ptp(difference)), 0.0, 0.02
    again = network.to_rust(network.from_rust(text))
    yield "Rust file read and written again", float(again == text), 1.0, 0.0


def check_training(segments):
    """It finds out by itself that the noisy half of the band is worth less."""
    used, held = segments[HELD:], segments[:HELD]
    trained = [network.train(used, 4, 60, np.random.default_rng(3)) for _ in range(2)]
    same = network.to_rust(trained[0]) == network.to_rust(trained[1])
    yield "same seed, same network", float(same), 1.0, 0.0
    before = network.evaluate(network.phase_alone(), held).mean()
    after = network.evaluate(trained[0], held).mean()
    print(f"score of marked noise: {before:.2f} by phase alone, {after:.2f} with the network")
    # From a little to twice as much.
    yield "gain by training, %", 100 * (after / before - 1), 52.5, 47.5


def run():
    """Run all checks; tells whether all passed."""
    signs = cells.signs_of(KEY)
    segments = [synthetic_segment(seed, signs) for seed in range(SEGMENTS)]
    found = [segment for segment in segments if segment is not None]

    def check_alignment():
        yield "marked noise aligned, segments", len(found), SEGMENTS, 0

    if not robustness_selftest.report([check_alignment]):
        return False
    return robustness_selftest.report(
        (
            check_signs,
            check_features,
            check_lowest,
            lambda: check_fold(found[0]),
            lambda: check_training(found),
        )
    )
