"""A comparison as a terminal shows it: a table, or lines where that has no room. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wm_eval.show import interval, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from wm_eval.compare import Difference

UNBOUNDED = 10_000  # columns


def fits(grid: Table, console: Console) -> bool:
    """Whether the console has room for all columns; rich would cut them down to nothing."""
    from rich.measure import Measurement

    options = console.options.update(max_width=UNBOUNDED)
    return Measurement.get(console, options, grid).maximum <= console.width


def table(found: Sequence[Difference]) -> Table:
    """The paired differences, a row for each figure."""
    from rich.table import Table

    grid = Table(caption="; ".join(_notes(found)))
    heads = ("figure", "n", "A", "B", "B - A", "95 % interval", "only A, B", "p", "verdict")
    for name in heads:
        text = name in ("figure", "verdict")
        grid.add_column(name, justify="left" if text else "right", no_wrap=True)
    for d in found:
        grid.add_row(
            d.name,
            str(d.difference.n),
            number(d.a),
            number(d.b),
            number(d.difference.value),
            interval(d.difference),
            f"{d.only_a}, {d.only_b}",
            chance(d.p),
            d.verdict,
        )
    return grid


def lines(found: Sequence[Difference]) -> str:
    """The same in three short lines for each figure, what was found first."""
    blocks = [
        f"{d.name}: {d.verdict}\n"
        f"  n {d.difference.n}, A {number(d.a)}, B {number(d.b)}, "
        f"B - A {number(d.difference.value)} ({interval(d.difference)})\n"
        f"  only A {d.only_a}, only B {d.only_b}, p {chance(d.p)}"
        for d in found
    ]
    return "\n".join([*blocks, *_notes(found)])


def chance(p: float | None) -> str:
    """A p of three places. No test gives 0, so a small one is not written as that.

    >>> chance(0.0004), chance(0.0005), chance(None)
    ('<0.001', '0.001', '-')
    """
    return "<0.001" if p is not None and p < 0.0005 else number(p)


def _notes(found: Sequence[Difference]) -> list[str]:
    return [
        "B - A with its 95 % interval, paired by item, clustered by prompt",
        f"of {len(found)} figures of two equal models about one in twenty is better by luck",
    ]
