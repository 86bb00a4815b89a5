"""Small plots as inline SVG, from plain numbers. Knows no task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM = 340, 220, 44, 28
COLOURS = {"red": "#c0392b", "blue": "#2467b5", "neutral": "#777"}
LINES = ("#c0392b", "#2467b5", "#2e8b57", "#8e44ad")
BINS = 10
UNIT = {0.0: "0", 0.5: "0.5", 1.0: "1"}  # place on an axis: what is written there


def probability(own: float, other: float) -> float:
    """Probability of the first of two log-probabilities among the two.

    >>> probability(-1.0, -1.0), probability(0.0, -1000.0)
    (0.5, 1.0)
    """
    return 1 / (1 + math.exp(min(700.0, other - own)))


def dots(arms: Mapping[str, Sequence[float]]) -> str:
    """One row an arm, one translucent dot an answer, the rule's two limits as lines."""
    marks = [_line([(0.55, 0), (0.55, 1)], "#c0392b", dash=True)]
    marks.append(_line([(0.45, 0), (0.45, 1)], "#2467b5", dash=True))
    rows: dict[float, str] = {}
    for row, (arm, values) in enumerate(arms.items()):
        middle = 1 - (row + 0.5) / max(1, len(arms))
        for nth, value in enumerate(values):
            y = middle + ((nth * 0.618034) % 1 - 0.5) * 0.22  # spread evenly, always the same
            marks.append(_circle(value, y, COLOURS.get(arm, "#333"), 0.35))
        rows[middle] = arm
    return _frame(marks, "red share", "", beside_at=rows)


def roc(marked: Sequence[float], plain: Sequence[float]) -> str:
    """True against false positives over every threshold; the diagonal is chance."""
    limits = sorted({*marked, *plain}, reverse=True)
    points = [(0.0, 0.0)]
    if marked and plain:
        points += [
            (sum(v >= t for v in plain) / len(plain), sum(v >= t for v in marked) / len(marked))
            for t in limits
        ]
    return _frame(
        [_line([(0, 0), (1, 1)], "#999", dash=True), _line(points, "#333")],
        "false positives",
        "true positives",
    )


def reliability(
    stated: Sequence[float],
    happened: Sequence[bool],
    intervals: Mapping[int, tuple[float, float]],
) -> str:
    """Mean outcome by bin of the stated probability, and its interval by number of the bin; the
    size of a dot is its number of answers."""
    marks = [_line([(0, 0), (1, 1)], "#999", dash=True)]
    for number in range(BINS):
        own = [
            (p, h)
            for p, h in zip(stated, happened, strict=True)
            if number <= p * BINS < number + 1 or (p == 1 and number == BINS - 1)
        ]
        if own:
            x = sum(p for p, _ in own) / len(own)
            y = sum(h for _, h in own) / len(own)
            if number in intervals:
                low, high = intervals[number]
                marks.append(_line([(x, low), (x, high)], "#333"))
            marks.append(_circle(x, y, "#333", 0.7, 2 + 8 * math.sqrt(len(own) / len(stated))))
    return _frame(marks, "stated probability of red", "share that is red")


def levels(points: Mapping[str, tuple[float, float, float, int]]) -> str:
    """(value, low, high, n) of each named band, side by side, from 0 to 1."""
    marks = [_line([(0, 0.5), (1, 0.5)], "#999", dash=True)]
    for nth, (name, (value, low, high, n)) in enumerate(points.items()):
        x = (nth + 0.5) / len(points)
        marks.append(_line([(x, low), (x, high)], "#2467b5"))
        marks.append(_circle(x, value, "#2467b5", 1.0))
        for y, words in ((HEIGHT - 14, name), (HEIGHT - 2, f"n {n:,}")):
            marks.append(
                f'<text x="{_x(x)}" y="{y}" font-size="10" text-anchor="middle">{words}</text>'
            )
    return _frame(marks, "", "accuracy", below_at={})


def curves(lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Values from 0 to 1 over steps, one line each, named in its colour at the lower right."""
    last = max((x for points in lines.values() for x, _ in points), default=1.0) or 1.0
    marks, names = list[str](), list[str]()  # above all lines
    for nth, (name, points) in enumerate(lines.items()):
        colour = LINES[nth % len(LINES)]
        scaled = [(x / last, y) for x, y in points]
        marks.append(_line(scaled, colour))
        marks += [_circle(x, y, colour, 1.0, 2.5) for x, y in scaled]
        names.append(_text(0.97, 0.25 - 0.09 * nth, name, colour))
    at = {share: f"{share * last:g}" for share in (0, 0.5, 1)}
    return _frame([*marks, *names], "step", "", below_at=at)


def _x(value: float) -> float:
    return round(LEFT + value * (WIDTH - LEFT - 8), 1)


def _y(value: float) -> float:
    return round(8 + (1 - value) * (HEIGHT - BOTTOM - 8), 1)


def _circle(x: float, y: float, colour: str, opacity: float, radius: float = 3) -> str:
    return (
        f'<circle cx="{_x(x)}" cy="{_y(y)}" r="{radius:.1f}" fill="{colour}" '
        f'fill-opacity="{opacity}"/>'
    )


def _line(points: Sequence[tuple[float, float]], colour: str, dash: bool = False) -> str:
    path = " ".join(f"{_x(x)},{_y(y)}" for x, y in points)
    dashes = ' stroke-dasharray="4 3"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>'


def _text(x: float, y: float, text: str, colour: str) -> str:
    """Words that end at x, on a rim of white: lines may be below them."""
    return (
        f'<text x="{_x(x)}" y="{_y(y)}" font-size="11" fill="{colour}" text-anchor="end" '
        f'stroke="#fff" stroke-width="3" paint-order="stroke">{text}</text>'
    )


def _frame(
    marks: Sequence[str],
    below: str,
    beside: str,
    below_at: Mapping[float, str] = UNIT,
    beside_at: Mapping[float, str] = UNIT,
) -> str:
    """Axes around the marks with their names, and words at their places from 0 to 1."""
    ticks = "".join(
        f'<text x="{LEFT - 5}" y="{_y(v) + 3}" font-size="10" text-anchor="end">{word}</text>'
        for v, word in beside_at.items()
    )
    ticks += "".join(
        f'<text x="{_x(v)}" y="{HEIGHT - 14}" font-size="10" text-anchor="middle">{word}</text>'
        for v, word in below_at.items()
    )
    box = f'<rect x="{_x(0)}" y="{_y(1)}" width="{_x(1) - _x(0)}" height="{_y(0) - _y(1)}"'
    return (
        # Named and sized, it is a file as well as a part of a page.
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif">{box} fill="none" stroke="#bbb"/>'
        f'{ticks}<text x="{WIDTH / 2}" y="{HEIGHT - 2}" font-size="11" text-anchor="middle">'
        f'{below}</text><text x="10" y="{HEIGHT / 2}" font-size="11" text-anchor="middle" '
        f'transform="rotate(-90 10 {HEIGHT / 2})">{beside}</text>{"".join(marks)}</svg>'
    )
