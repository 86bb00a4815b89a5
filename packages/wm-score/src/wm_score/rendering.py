"""Tables and coloured text for people. Measures nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from wm_score.spans import Token
from wm_score.visible import visible
from wm_score.windowing import Window

ANSI = {"red": "\x1b[31m", "blue": "\x1b[34m", "none": "\x1b[90m"}
RESET = "\x1b[0m"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wm-score</title>
<style>
:root {{ color-scheme: light dark; --red: #c02626; --blue: #1d56c9; --grey: #8a8a8a;
  --red-back: #fde4e2; --blue-back: #e0eaff; --page: #fcfcfa; --ink: #222; --line: #ddd; }}
@media (prefers-color-scheme: dark) {{ :root {{ --red: #ff9a92; --blue: #9dbdff; --grey: #8f8f8f;
  --red-back: #4a1f1d; --blue-back: #1d2d52; --page: #161618; --ink: #e6e6e6; --line: #3a3a3a; }} }}
body {{ margin: 2rem auto; max-width: 46rem; padding: 0 1rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }}
h2 {{ font-size: 1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }}
.text {{ border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; line-height: 1.9;
  white-space: pre-wrap; overflow-wrap: anywhere; }}
.text span, .legend span {{ border-radius: .2rem; padding: .1rem 0; }}
.legend span {{ padding: .1rem .4rem; margin-right: .5rem; }}
.red {{ color: var(--red); background: var(--red-back); }}
.blue {{ color: var(--blue); background: var(--blue-back); }}
.none {{ color: var(--grey); }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def table(records: Sequence[dict[str, Any]]) -> str:
    """Figures of several inputs in columns."""
    head = ["input", "counted", "even", "odd", "red", "blue", "verdict", "red p", "blue p"]
    rows = [
        [
            visible(str(record["input"])),
            str(record["counted"]),
            str(record["even"]),
            str(record["odd"]),
            f"{record['red_share']:.3f}",
            f"{record['blue_share']:.3f}",
            str(record["verdict"]),
            _p(record["red_p"]),
            _p(record["blue_p"]),
        ]
        for record in records
    ]
    text = columns([head, *rows])
    first = records[0]
    null = visible(first["null"])
    return text + (
        f"p: against null '{null}' ({first['null_documents']} unmarked documents in "
        f"{first['null_pieces']} pieces at least)\n"
    )


def window_table(name: str, text: str, found: Sequence[Window], judged: bool = True) -> str:
    """Windows in columns, with the best of each colour named below; without p if not `judged`."""
    lines = [["from", "to", "even", "odd", "red p", "blue p", "text"]]
    for one in found:
        start = visible(" ".join(text[one.start : one.start + 80].split())[:36])
        cells = [str(one.start), str(one.end), str(one.even), str(one.odd)]
        ps = [_p(one.red_p), _p(one.blue_p)] if judged else ["-", "-"]
        lines.append([*cells, *ps, start])
    below = "no counted token\n"
    if not judged:
        below = "abstained: no p-values\n"
    elif found:
        red = min(found, key=lambda one: one.red_p)
        blue = min(found, key=lambda one: one.blue_p)
        below = (
            f"best for red: {red.start} to {red.end}, p {_p(red.red_p)}; best for blue: "
            f"{blue.start} to {blue.end}, p {_p(blue.blue_p)}; corrected for {len(found)} windows\n"
        )
    return f"{visible(name)}\n{columns(lines)}{below}"


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Cells in aligned columns: the first and words to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out: list[str] = []
    for line in lines:
        cells = [
            cell.rjust(width) if i and _number(lines, i) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ]
        out.append("  ".join(cells).rstrip() + "\n")
    return "".join(out)


def ansi(text: str, tokens: Sequence[Token]) -> str:
    """The text in terminal colours. Control characters are shown, not sent."""
    out: list[str] = []
    for colour, part in coloured(text, tokens):
        out.append(ANSI[colour] + visible(part, kept="\n\t") + RESET)
    return "".join(out)


def page(sections: Sequence[str]) -> str:
    """One self-contained HTML file."""
    legend = (
        '<p class="legend"><span class="red">red: even id</span>'
        '<span class="blue">blue: odd id</span><span class="none">ignored</span></p>\n'
    )
    return PAGE.format(body=legend + "".join(sections))


def section(record: dict[str, Any], text: str, tokens: Sequence[Token]) -> str:
    """One input's part of the page."""
    spans = "".join(
        f'<span class="{colour}">{html.escape(part)}</span>'
        for colour, part in coloured(text, tokens)
    )
    return (
        f"<h2>{html.escape(str(record['input']))}: {record['verdict']}</h2>\n"
        f"<p>{record['even']} red ({100 * record['red_share']:.1f} %, p {_p(record['red_p'])}), "
        f"{record['odd']} blue ({100 * record['blue_share']:.1f} %, p {_p(record['blue_p'])}), "
        f"{record['ignored']} ignored</p>\n"
        f'<div class="text">{spans}</div>\n'
    )


def coloured(text: str, tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Parts of the text with their colour, all of it, each character once."""
    parts: list[tuple[str, str]] = []
    done = 0
    for token in tokens:
        if token.end > done:  # a character of several tokens goes with its first
            parts.append((token.colour, text[done : token.end]))
            done = token.end
    return parts


def _number(lines: Sequence[Sequence[str]], column: int) -> bool:
    return all(line[column][:1] in "0123456789-" for line in lines[1:])


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
