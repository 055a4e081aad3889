# SPDX-License-Identifier: MIT OR Apache-2.0
"""From audio to what the network of weighting.rs is trained with.

A cell is a frame and a bin of the received audio. Here are the signs of the key, the
spectra and the features of the cells, as src/watermark/format.rs, correlation.rs and
weighting.rs have them; whoever changes one of them changes the other. Two things are
simpler here. Frames come every 20 ms instead of every 10 ms, which halves the work and
costs nothing, as they are 128 ms long. And logarithms are exact, where weighting.rs is off
by up to 0.005.

Times are in seconds, frequencies in hertz, levels are logarithms of powers to base 2.
"""

from typing import NamedTuple

import blake3
import numpy as np

WINDOW = 0.128
HOP = 0.02
"""Time from frame to frame."""
DELAY = 0.16
"""A frame is compared with the one so much earlier."""
LAG = round(DELAY / HOP)
ROW = 0.2
ROWS = 1024
CHIP_LOW = 300.0
CHIP_WIDTH = 31.25
CHIPS = 198

SPACING = 1 / WINDOW
"""From bin to bin, at the sample rates of all attacks: 8, 16 and 48 kHz."""
BINS = round(CHIPS * CHIP_WIDTH / SPACING)
FIRST_BIN = int(np.ceil(CHIP_LOW / SPACING))
HERTZ = (FIRST_BIN + np.arange(BINS)) * SPACING
CHIP_OF_BIN = ((HERTZ - CHIP_LOW) / CHIP_WIDTH).astype(int)

SHORT, MEDIUM, LONG = 0.04, 0.2, 1.5
"""Time constants of the running means."""
CELL_REACH, NEAR_REACH, BAND_REACH = 2, 10, 40
"""Bins on either side that count as the cell, its neighbourhood and its band."""
LEARNED = 1.0
"""From so much audio the surroundings are learned before anything is weighed."""
STRETCHES = 4
STRETCH = 1.5
"""The lowest power is searched in so many stretches of so many seconds."""
TELEPHONE, ABOVE_TELEPHONE = 3430.0, 4133.0
SILENCE = 1e-24
LEAST = 1e-14
"""Power that ratios start from."""
RATIO = 12.0
"""Bound of the features."""
FEATURES = 13

SECONDS = 2.0
"""Audio of a segment that is scored."""
MARGIN = 1.0
"""Audio before and after a segment, which only serves to align it with the signs."""
FRAMES = round(SECONDS / HOP) + 1
ROWS_OF_SEGMENT = 12
"""More than a segment touches, at any tempo."""
FARTHEST = 0.2
"""What codecs, filters and air may delay the audio by; it may be early by as much."""
ALIGNED = 6.0
"""Score by phase alone that tells that the delay is the right one, and not chance."""


class Segment(NamedTuple):
    """A stretch of damaged audio. What is above its Nyquist frequency is 0."""

    features: np.ndarray
    """Of each frame and bin."""
    phase: np.ndarray
    """Cosine of the phase from each cell to the one DELAY earlier, from frame LAG on."""
    row: np.ndarray
    """Place in `signs` of each of these frames."""
    signs: np.ndarray
    """Rows of signs that the segment touches."""
    bins: int
    """So many bins are below the Nyquist frequency."""


def signs_of(key):
    """Signs of a key of 32 bytes: ROWS rows of CHIPS, each +1 or -1."""
    subkey = blake3.blake3(key, derive_key_context="gst-plugin-wm v1 chip signs").digest()
    stream = blake3.blake3(b"", key=subkey).digest(length=32 * ROWS)
    rows = np.frombuffer(stream, np.uint8).reshape(ROWS, 32)
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    return 1 - 2 * bits[:, :CHIPS].astype(np.int8)


def window_of(rate):
    """Square root of a periodic Hann window."""
    size = round(WINDOW * rate)
    return np.sin(np.pi * np.arange(size) / size)


def spectra(audio, rate, hop=HOP):
    """Spectra of the frames of mono audio, within the chips; frame k has its middle at k hop.

    Before and after the audio there is silence of half a window, as in correlation.rs.
    """
    window = window_of(rate)
    size = len(window)
    padded = np.pad(audio, size // 2)
    starts = np.round(np.arange(int(len(audio) / (hop * rate)) + 1) * hop * rate).astype(int)
    frames = padded[starts[:, None] + np.arange(size)] * window
    return np.fft.rfft(frames, axis=1)[:, FIRST_BIN : min(FIRST_BIN + BINS, size // 2)]


def running_mean(power, memory):
    """Mean over time (rows) that forgets within `memory` frames and starts as a plain mean."""
    means = np.empty_like(power)
    mean = np.zeros_like(power[0])
    for frame, present in enumerate(power):
        mean = mean + (present - mean) / min(frame + 1, memory)
        means[frame] = mean
    return means


def around(power, reach):
    """Mean of the bins up to `reach` away from each bin, as far as they exist."""
    bins = power.shape[1]
    sums = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    first = np.maximum(np.arange(bins) - reach, 0)
    end = np.minimum(np.arange(bins) + reach + 1, bins)
    return (sums[:, end] - sums[:, first]) / (end - first)


def lowest_of(cell, hop):
    """Lowest power of each bin in the latest stretches, the last of which is still filling."""
    stretches = np.full((STRETCHES, cell.shape[1]), np.inf)
    lowest = np.empty_like(cell)
    stretch, frames = 0, 0
    for frame, present in enumerate(cell):
        stretches[stretch] = np.minimum(stretches[stretch], present)
        frames += 1
        if frames * hop >= STRETCH:
            stretch, frames = (stretch + 1) % STRETCHES, 0
            stretches[stretch] = present
        lowest[frame] = stretches.min(axis=0)
    return lowest


def level(power):
    """Logarithm to base 2 of powers."""
    return np.log2(np.maximum(power, LEAST))


def features_of(spectrum, hop=HOP):
    """What the network is told about each cell, in the order of `Network::features`."""
    power = np.abs(spectrum.astype(complex)) ** 2
    bins = power.shape[1]
    hertz = HERTZ[:bins]
    learned = min(round(LEARNED / hop), len(power))

    def learn(series):
        """The surroundings are those after the first second until it is over."""
        return series[np.maximum(np.arange(len(series)), learned - 1)]

    short = running_mean(power, SHORT / hop)
    surroundings = learn(running_mean(power, LONG / hop))
    cell = around(short, CELL_REACH)
    power_level, short_level, cell_level = level(power), level(short), level(cell)
    near = level(around(short, NEAR_REACH))
    band = level(around(short, BAND_REACH))
    before = level(around(running_mean(power, MEDIUM / hop), CELL_REACH))
    long = level(around(surroundings, CELL_REACH))
    lowest = level(learn(lowest_of(cell, hop)))

    # Of all bins that there would be at a high sample rate.
    mean = power.sum(axis=1, keepdims=True) / BINS
    now = np.log2(short.sum(axis=1, keepdims=True) / BINS + LEAST)
    always = np.log2(learn(running_mean(mean, LONG / hop)) + LEAST)

    def mean_of(inside):
        return surroundings[:, inside].sum(axis=1, keepdims=True) / max(inside.sum(), 1) + LEAST

    above_telephone = np.log2(mean_of(hertz >= ABOVE_TELEPHONE) / mean_of(hertz < TELEPHONE))
    position = (hertz - CHIP_LOW - 4.7) / 7.8125 / 800
    features = [
        power_level - cell_level,
        cell_level - near,
        near - band,
        band - now,
        now - always,
        cell_level - lowest,
        cell_level - long,
        long - always,
        cell_level - before,
        position,
        power_level - short_level,
        lowest - always,
        above_telephone,
    ]
    whole = np.stack([np.broadcast_to(feature, power.shape) for feature in features], axis=-1)
    return np.clip(whole, -RATIO, RATIO)


def phase_of(spectrum):
    """Cosine of the phase from each cell to the one DELAY earlier."""
    size = np.abs(spectrum)
    unit = np.where(size**2 < SILENCE, 0, spectrum / np.maximum(size, SILENCE))
    return (unit[LAG:] * unit[:-LAG].conj()).real


def rows_at(times):
    """Number of the row at each of these times of the programme."""
    return np.floor(times / ROW).astype(int) % ROWS


def align(phase, begin, tempo, signs):
    """Delay of the audio in seconds, and the score by phase alone that it gives.

    A search, as each codec has a delay of its own. `phase` begins at the time `begin` of the
    programme and goes on at `tempo`.
    """
    chips = np.zeros((len(phase), CHIPS))
    np.add.at(chips.T, CHIP_OF_BIN[: phase.shape[1]], phase.T)
    times = DELAY + np.arange(len(phase)) * HOP
    best = (0.0, -np.inf)
    size = np.sqrt((chips**2).sum()) + 1e-9
    for delay in np.arange(-FARTHEST, FARTHEST + HOP / 4, HOP / 2):
        rows = rows_at(begin + (times - delay) * tempo)
        score = (signs[rows] * chips).sum() / size
        if score > best[1]:
            best = (delay, score)
    return best


def segment_of(audio, rate, begin, tempo, history, signs):
    """The segment within mono audio, or None if the signs are not found in it at all.

    `audio` begins at the time `begin` of the programme, goes on at `tempo`, and holds MARGIN,
    `history` seconds that the detector has heard before, SECONDS, and MARGIN.
    """
    delay, score = align(phase_of(spectra(audio, rate)), begin, tempo, signs)
    start, end = int(MARGIN * rate), int((MARGIN + history + SECONDS) * rate)
    spectrum = spectra(audio[start:end], rate)
    first = round(history / HOP)
    if score < ALIGNED or len(spectrum) < first + FRAMES:
        return None
    features = features_of(spectrum)[first : first + FRAMES]
    spectrum = spectrum[first : first + FRAMES]
    bins = spectrum.shape[1]
    times = MARGIN + history + DELAY + np.arange(FRAMES - LAG) * HOP
    rows = rows_at(begin + (times - delay) * tempo)
    beyond = ((0, 0), (0, BINS - bins))
    # 16 bits are enough, and there are many segments.
    return Segment(
        np.pad(features, (*beyond, (0, 0))).astype(np.float16),
        np.pad(phase_of(spectrum), beyond).astype(np.float16),
        (rows - rows[0]) % ROWS,
        signs[(rows[0] + np.arange(ROWS_OF_SEGMENT)) % ROWS],
        bins,
    )
