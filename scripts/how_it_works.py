#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Draws docs/how-it-works.svg: what is added in a chip, the signs of the chips, and how a detector compares.

    scripts/how_it_works.py > docs/how-it-works.svg

Time runs to the right at the same scale in all three parts, one row of 200 ms in 60 units. The signs are drawn by
lot, the wave is made up.
"""

import math
import random

LEFT, ROW = 120, 60
ROWS, CHIPS, HEIGHT = 9, 9, 14
DELAY = ROW * 160 / 200
WIDTH = LEFT + ROWS * ROW + 24

STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.faint { font-size: 13px; fill: #59636e; }
.page { fill: #ffffff; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.programme { stroke: #59636e; }
.plus { fill: #0a5fc4; } .minus { fill: #f0b37e; }
.copy { stroke: #a04100; }
.axis { stroke: #59636e; fill: none; }
.arrow { fill: #59636e; }
.frame { stroke: #1f2328; fill: none; stroke-width: 1.5; }
.sign { font-size: 12px; text-anchor: middle; fill: #ffffff; } .negative { fill: #1f2328; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .faint { fill: #9da7b3; } .page { fill: #0d1117; } .programme { stroke: #9da7b3; }
.plus { fill: #3f86d8; } .minus { fill: #8a4b1c; } .copy { stroke: #f69d50; } .axis { stroke: #9da7b3; }
.arrow { fill: #9da7b3; } .frame { stroke: #f0f6fc; } .sign, .negative { fill: #ffffff; }
}
"""


def text(x, y, words, kind=""):
    return f'<text x="{x:g}" y="{y:g}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{words}</text>'


def wave(x):
    """A made-up programme at x units from the left."""
    swell = 0.55 + 0.45 * math.sin(x / 67) * math.cos(x / 41 + 1)
    return swell * (math.sin(x / 5.1) + 0.6 * math.sin(x / 8.3 + 1) + 0.4 * math.sin(x / 3.2 + 2))


def curve(kind, y, height, value):
    steps = range(0, ROWS * ROW + 1, 2)
    points = " ".join(f"{LEFT + x},{y - height * value(x):.1f}" for x in steps)
    return f'<polyline class="line {kind}" points="{points}"/>'


def arrow(x, y, to):
    """A line to the right with a head."""
    return f'<path class="axis" d="M{x:g} {y:g}H{to:g}"/><path class="arrow" d="M{to:g} {y:g}l-7 -4v8z"/>'


def main():
    draw = random.Random(7)
    signs = [[draw.choice((1, -1)) for _ in range(ROWS)] for _ in range(CHIPS)]
    out = []
    # The signs.
    top = 58
    out += [text(24, 26, "The key draws a sign for each chip", "title")]
    out += [text(24, 46, "A chip is 200 ms of time by 31.25 Hz; nine of 198 in a row are drawn", "faint")]
    out += [text(24, top + 20, "frequency"), text(24, top + 38, "300 Hz to", "faint")]
    out += [text(24, top + 54, "6.5 kHz", "faint")]
    for chip, row in ((c, r) for c in range(CHIPS) for r in range(ROWS)):
        sign = signs[chip][row]
        x, y = LEFT + row * ROW, top + chip * HEIGHT
        kind = "plus" if sign > 0 else "minus"
        out += [f'<rect class="{kind}" x="{x + 0.5:g}" y="{y + 0.5:g}" width="{ROW - 1}" height="{HEIGHT - 1}"/>']
        kind = "sign" if sign > 0 else "sign negative"
        out += [text(x + ROW / 2, y + 11.5, "+" if sign > 0 else "−", kind)]
    chosen = 3
    y = top + chosen * HEIGHT
    out += [f'<rect class="frame" x="{LEFT}" y="{y}" width="{ROWS * ROW}" height="{HEIGHT}"/>']

    # One chip over time.
    top = 226
    out += [text(24, top, "wmembed adds a faint copy from 160 ms before, times the sign of each chip", "title")]
    out += [text(24, top + 20, "The framed chips over time. With lookahead it adds one from 160 ms after, too", "faint")]
    out += [text(24, top + 66, "programme"), text(24, top + 132, "mark"), text(24, top + 148, "18 dB softer", "faint")]
    out += [curve("programme", top + 62, 16, wave)]

    def mark(x):
        return signs[chosen][min(int(x // ROW), ROWS - 1)] * wave(x - DELAY)

    out += [curve("copy", top + 130, 9, mark)]
    for row in range(ROWS):
        sign = "+" if signs[chosen][row] > 0 else "−"
        out += [text(LEFT + row * ROW + ROW / 2 - 4, top + 166, sign, "title")]
        out += [f'<path class="axis" stroke-dasharray="2 4" d="M{LEFT + row * ROW} {top + 34}V{top + 170}"/>']
    start = LEFT + 2 * ROW + 4
    out += [arrow(start, top + 96, start + DELAY), text(start + DELAY + 6, top + 101, "160 ms", "faint")]

    # Detection.
    top = 430
    out += [text(24, top, "wmdetect correlates the audio with itself 160 ms earlier, chip by chip", "title")]
    out += [text(24, top + 20, "Loudspeaker, room, microphone and codec did the same to both, so that what they did cancels", "faint")]
    out += [text(24, top + 64, "correlation"), text(24, top + 108, "× sign")]
    noise = [0.55, 0.2, 0.8, -0.25, 0.7, 0.5, 0.3, 0.9, 0.6]
    for row in range(ROWS):
        sign = signs[chosen][row]
        x = LEFT + row * ROW + ROW / 2 - 12
        for base, value in ((top + 60, sign * noise[row]), (top + 104, noise[row])):
            height = 20 * abs(value)
            kind = "plus" if value > 0 else "minus"
            y = base - height if value > 0 else base
            out += [f'<rect class="{kind}" x="{x:g}" y="{y:.1f}" width="24" height="{height:.1f}"/>']
    for base in (top + 60, top + 104):
        out += [f'<path class="axis" d="M{LEFT} {base}H{LEFT + ROWS * ROW}"/>']
    out += [text(24, top + 140, "The sum over all chips is the score: about 0 for audio without this mark, above 7.5 with it")]

    height = top + 158
    title = "What wmembed adds to the programme chip by chip, and how wmdetect finds it"
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    print(f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>')
    print(f"<title>{title}</title>\n<style>{STYLE}</style>")
    print(f'<rect width="{WIDTH}" height="{height}" rx="6" class="page"/>')
    print("\n".join(out))
    print("</svg>")


main()
