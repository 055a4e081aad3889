# SPDX-License-Identifier: MIT OR Apache-2.0
"""Draws what robustness.py found in the simulated room, as SVG without any library.

The picture has a background of its own, so it can be read on any page, and follows the
reader's preference for light or dark.
"""

import robustness_attacks as attacks
import robustness_room as room

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 72, 600, 76, 318
"""Edges of the area with the lines, in pixels."""
LENGTH = "2"
"""Seconds of audio that the plotted rate refers to."""

STYLE = """
    svg { --page: #ffffff; --ink: #1f2328; --faint: #59636e; --grid: #d8dee4;
          --s0: #0a5fc4; --s1: #a04100; --s2: #7a3db8; }
    @media (prefers-color-scheme: dark) {
      svg { --page: #0d1117; --ink: #f0f6fc; --faint: #9da7b3; --grid: #30363d;
            --s0: #6cb6ff; --s1: #f69d50; --s2: #d2a8ff; } }
    text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink); }
    .title { font-size: 17px; font-weight: 600; }
    .faint { fill: var(--faint); font-size: 13px; }
    .grid { stroke: var(--grid); }
    .axis { stroke: var(--faint); }
    .s0 { stroke: var(--s0); fill: var(--s0); }
    .s1 { stroke: var(--s1); fill: var(--s1); }
    .s2 { stroke: var(--s2); fill: var(--s2); }
    .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
    .mark { stroke: var(--page); stroke-width: 1.5; }
    .label { stroke: none; font-weight: 600; }
"""


def marker(shape, x, y):
    """Path of a circle, a square or a triangle around a point."""
    if shape == 0:
        return f"M{x - 5.5:.1f} {y:.1f}a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0 -11 0z"
    if shape == 1:
        return f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10z"
    return f"M{x:.1f} {y - 7:.1f}l6.5 11.5h-13z"


def spread(places, distance):
    """Move places apart, in their order, so that neighbours are at least `distance` apart."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    for _ in range(100):
        for above, below in zip(order, order[1:]):
            overlap = distance - (moved[below] - moved[above])
            if overlap > 0.01:
                moved[above] -= overlap / 2
                moved[below] += overlap / 2
    return moved


def detection_rates(results):
    """For each SNR, in the order of RATIOS: list of (distance in m, share found)."""
    curves = []
    for ratio in attacks.RATIOS:
        curve = []
        for distance in attacks.DISTANCES:
            name = attacks.room_name(distance, ratio)
            found = [r["found"][LENGTH] for r in results if r["marked"] and r["attack"] == name]
            if found:
                curve.append((distance, sum(found) / len(found), len(found)))
        curves.append(curve)
    return curves


def draw(outcome, path):
    """Write the plot; returns False if there are no results for it."""
    curves = detection_rates(outcome["results"])
    points = [point for curve in curves for point in curve]
    if not points:
        return False

    def x_of(distance):
        return LEFT + 24 + (RIGHT - LEFT - 36) * (distance - 1) / (max(attacks.DISTANCES) - 1)

    def y_of(share):
        return BOTTOM - (BOTTOM - TOP) * share

    texts, shapes = [], []

    def text(x, y, words, kind="", anchor="start"):
        texts.append(f'<text x="{x}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>')

    text(24, 30, "Mark found in 2 s of audio, over distance", "title")
    text(24, 52, "loudspeaker to microphone in a simulated room", "faint")
    for percent in (0, 25, 50, 75, 100):
        y = y_of(percent / 100)
        kind = "axis" if percent == 0 else "grid"
        shapes.append(f'<path class="{kind}" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        text(LEFT - 10, y + 5, f"{percent} %", "faint", "end")
    for distance in attacks.DISTANCES:
        text(f"{x_of(distance):.1f}", BOTTOM + 22, f"{distance} m", "faint", "middle")
    counts = sorted({point[2] for point in points})
    conditions = (
        f"room {' x '.join(f'{side:.0f}' for side in room.ROOM_SIZE)} m, RT60 {room.RT60} s; "
        f"SNR at the microphone, {room.MARK_BAND[0]:.0f} to {room.MARK_BAND[1]:.0f} Hz; "
        f"{len(outcome['recordings'])} recordings, {counts[-1]} excerpts for each point"
    )
    text(24, HEIGHT - 24, conditions.replace(" x ", " × "), "faint")

    drawn = [(index, curve) for index, curve in enumerate(curves) if curve]
    heights = spread([y_of(curve[-1][1]) for _, curve in drawn], 19)
    for (index, curve), height in zip(drawn, heights):
        line = "L".join(f"{x_of(d):.1f} {y_of(share):.1f}" for d, share, _ in curve)
        shapes.append(f'<path class="line s{index}" d="M{line}"/>')
        label = f"{attacks.RATIOS[index]} dB SNR"
        text(RIGHT + 12, height + 5, label, f"label s{index}")
    for index, curve in drawn:
        for distance, share, _ in curve:
            path_of_mark = marker(index, x_of(distance), y_of(share))
            shapes.append(f'<path class="mark s{index}" d="{path_of_mark}"/>')

    said = "; ".join(
        f"{attacks.RATIOS[index]} dB SNR: "
        + ", ".join(f"{distance} m {100 * share:.0f} %" for distance, share, _ in curve)
        for index, curve in drawn
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>Detection rate over distance. {said}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" style="fill: var(--page)"/>',
        *shapes,
        *texts,
        "</svg>",
    ]
    path.write_text("\n".join(lines) + "\n")
    return True
