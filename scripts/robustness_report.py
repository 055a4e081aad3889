# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tells what robustness.py found: tables, and a plot as SVG, without any library.

The plot shows the simulated room. It has a background of its own, so it can be read on any
page, and follows the reader's preference for light or dark.
"""

import itertools
import sys

import robustness_attacks as attacks
import robustness_room as room

WIDTH, HEIGHT = 720, 412
LEFT, RIGHT, TOP, BOTTOM = 72, 600, 76, 318
"""Edges of the area with the lines, in pixels."""
LENGTHS = ("2", "4", "8")
"""Seconds of audio, as they are written in results.json; the first is plotted."""
READ_LENGTHS = ("3", "4", "6", "8", "15")
"""The same for the payload."""

LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "faint": "#59636e",
    "grid": "#d8dee4",
    "lines": ("#0a5fc4", "#a04100", "#7a3db8"),
}
DARK = {
    "page": "#0d1117",
    "ink": "#f0f6fc",
    "faint": "#9da7b3",
    "grid": "#30363d",
    "lines": ("#6cb6ff", "#f69d50", "#d2a8ff"),
}


def colours(scheme):
    """Style rules for a colour scheme; without variables, which few viewers know."""
    page, ink, faint, grid = (scheme[key] for key in ("page", "ink", "faint", "grid"))
    rules = [
        f".page {{ fill: {page}; }}",
        f"text {{ fill: {ink}; }}",
        f".faint {{ fill: {faint}; }}",
        f".grid {{ stroke: {grid}; }}",
        f".axis {{ stroke: {faint}; }}",
        f".mark {{ stroke: {page}; }}",
    ]
    for index, colour in enumerate(scheme["lines"]):
        rules.append(f".line{index} {{ stroke: {colour}; }}")
        rules.append(f".fill{index} {{ fill: {colour}; }}")
    return " ".join(rules)


def style():
    """All style rules."""
    return f"""
text {{ font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; }}
.title {{ font-size: 17px; font-weight: 600; }}
.faint {{ font-size: 13px; }}
.line {{ fill: none; stroke-width: 2.5; stroke-linejoin: round; }}
.mark {{ stroke-width: 1.5; }}
.label {{ font-weight: 600; }}
{colours(LIGHT)}
@media (prefers-color-scheme: dark) {{ {colours(DARK)} }}
"""


def counts(results, what, lengths):
    """For each length how often `what` was so, and how many results there are of this length."""
    told = [[r[what][length] for r in results if length in r[what]] for length in lengths]
    return [(sum(it), len(it)) for it in told]


def shares(results, what="found", lengths=LENGTHS):
    """Share of results found at each length, or with the payload read, as text."""
    if not results:
        return "-"
    found = counts(results, what, lengths)
    return ", ".join(f"{100 * yes / of:.0f}" if of else "-" for yes, of in found) + " %"


def print_table(header, rows):
    """Print a table in Markdown, with columns aligned."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


def print_tables(outcome):
    """Print the tables and the count of false detections."""
    marked = [result for result in outcome["results"] if result["marked"]]
    plain = [result for result in outcome["results"] if not result["marked"]]
    count = len(outcome["recordings"])
    print(f"{count} recordings, {outcome['excerpts']} excerpts of each, seed {outcome['seed']}\n")
    # What is told about results: words for a header, and a function for the figures.
    columns = [("found within " + ", ".join(LENGTHS) + " s", shares)]
    if "payload" in outcome:
        words = "payload read within " + ", ".join(READ_LENGTHS) + " s"
        columns.append((words, lambda those: shares(those, "read", READ_LENGTHS)))
    rows = []
    for name in attacks.all_attacks():
        matching = [result for result in marked if result["attack"] == name]
        if matching:
            rows.append([name, *(figures(matching) for _, figures in columns)])
    print_table(["attack", *(words for words, _ in columns)], rows)
    print()
    rows = []
    for recording in dict.fromkeys(result["recording"] for result in marked):
        own = [result for result in marked if result["recording"] == recording]
        kinds = [[r for r in own if r["attack"].startswith("room") == it] for it in (False, True)]
        rows.append([recording, *(figures(kind) for _, figures in columns for kind in kinds)])
    header = ["recording", "all attacks but the room", "room"]
    if "payload" in outcome:
        header += ["payload, all attacks but the room", "payload, room"]
    print_table(header, rows)
    wrong = [result for result in plain if any(result["found"].values())]
    print(f"\nnot marked: {len(wrong)} detections in {len(plain)} excerpts")
    for result in wrong:
        print(f"  {result['recording']}, {result['attack']}, excerpt {result['excerpt']}")
    if "payload" in outcome:
        print_lengths(outcome, marked)
    print(f"run time: {outcome['run_time']:.0f} s")


def print_lengths(outcome, marked):
    """Tell how many excerpts there are of each length, and how often nothing wrong was read."""
    told = counts(marked, "read", READ_LENGTHS)
    numbers = [f"{of} of {length} s" for length, (_, of) in zip(READ_LENGTHS, told)]
    wrong = sum(bool(result["wrong_payloads"]) for result in outcome["results"])
    print(f"payload {outcome['payload']}: marked excerpts: " + ", ".join(numbers))
    print(f"wrong payloads: in {wrong} of {len(outcome['results'])} excerpts, marked or not")


def print_wrong_payloads(outcome):
    """Name, on stderr, what was reported that nobody marked with; returns whether there is any."""
    wrong = [result for result in outcome["results"] if result.get("wrong_payloads")]
    for result in wrong:
        state = "marked" if result["marked"] else "not marked"
        print(
            f"WRONG PAYLOAD {', '.join(result['wrong_payloads'])}: {result['recording']}, "
            f"{result['attack']}, excerpt {result['excerpt']}, {state}",
            file=sys.stderr,
        )
    return bool(wrong)


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
        for above, below in itertools.pairwise(order):
            overlap = distance - (moved[below] - moved[above])
            if overlap > 0.01:
                moved[above] -= overlap / 2
                moved[below] += overlap / 2
    return moved


def detection_rates(results):
    """For each SNR, in the order of RATIOS: list of (distance in m, share found, count)."""
    curves = []
    for ratio in attacks.RATIOS:
        curve = []
        for distance in attacks.DISTANCES:
            name = attacks.room_name(distance, ratio)
            found = [r["found"][LENGTHS[0]] for r in results if r["marked"] and r["attack"] == name]
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
        place = f'x="{x}" y="{y:.1f}" text-anchor="{anchor}"'
        texts.append(f'<text {place} class="{kind}">{words}</text>')

    text(24, 30, "Mark found in 2 s of audio, over distance", "title")
    text(24, 52, "between loudspeaker and microphone, in a simulated room", "faint")
    for percent in (0, 25, 50, 75, 100):
        y = y_of(percent / 100)
        kind = "axis" if percent == 0 else "grid"
        shapes.append(f'<path class="{kind}" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        text(LEFT - 10, y + 5, f"{percent} %", "faint", "end")
    for distance in attacks.DISTANCES:
        text(f"{x_of(distance):.1f}", BOTTOM + 22, f"{distance} m", "faint", "middle")
    counts = sorted({point[2] for point in points})
    sides = " × ".join(f"{side:.0f}" for side in room.ROOM_SIZE)
    text(
        24,
        HEIGHT - 44,
        f"Room {sides} m, RT60 {room.RT60} s. SNR: programme to noise at the microphone, "
        f"{room.MARK_BAND[0]:.0f} to {room.MARK_BAND[1]:.0f} Hz.",
        "faint",
    )
    text(
        24,
        HEIGHT - 22,
        f"{len(outcome['recordings'])} recordings; each point: {counts[-1]} excerpts.",
        "faint",
    )

    drawn = [(index, curve) for index, curve in enumerate(curves) if curve]
    heights = spread([y_of(curve[-1][1]) for _, curve in drawn], 19)
    for (index, curve), height in zip(drawn, heights):
        line = "L".join(f"{x_of(d):.1f} {y_of(share):.1f}" for d, share, _ in curve)
        shapes.append(f'<path class="line line{index}" d="M{line}"/>')
        label = f"{attacks.RATIOS[index]} dB SNR"
        text(RIGHT + 12, height + 5, label, f"label fill{index}")
    for index, curve in drawn:
        for distance, share, _ in curve:
            path_of_mark = marker(index, x_of(distance), y_of(share))
            shapes.append(f'<path class="mark fill{index}" d="{path_of_mark}"/>')

    said = "; ".join(
        f"{attacks.RATIOS[index]} dB SNR: "
        + ", ".join(f"{distance} m {100 * share:.0f} %" for distance, share, _ in curve)
        for index, curve in drawn
    )
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img"',
        f' viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<title>Detection rate over distance. {said}</title>",
        f"<style>{style()}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" class="page"/>',
        *shapes,
        *texts,
        "</svg>",
    ]
    path.write_text("\n".join(lines) + "\n")
    return True
