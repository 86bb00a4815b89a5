"""The command `wm-score`: reads files, reports figures. Decides nothing about them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import wm_score
from wm_score import null, reading, records, rendering, rows
from wm_score.errors import InputError, WmScoreError
from wm_score.proof import DEFAULT, NullLike, choose
from wm_score.windowing import SIZE

SHOW_PROGRESS_AFTER_S = 2.0
T = TypeVar("T")

DESCRIPTION = """\
Read the red/blue parity watermark in text: counts of even and odd Qwen3 token ids, the verdict of
codebook v1, and p-values against unmarked text. A verdict alone is no proof: under the rule 44 % of
unmarked English replies are "blue". `wm-score calibrate --help` fits a null from your own text.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 1 by --fail-on, 2 for bad input."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        if given[:1] == ["calibrate"]:
            return calibrate(calibrate_parser().parse_args(given[1:]))
        return score(score_parser().parse_args(given))
    except WmScoreError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def score_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wm-score", description=DESCRIPTION)
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="UTF-8 text; standard input when none or -")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument(
        "--jsonl", metavar="FIELD", help="read JSON lines, write each back with `wm_score` added"
    )
    form.add_argument(
        "--tokens", choices=["ansi", "html"], help="the text, token by token, in colour"
    )
    form.add_argument(
        "--windows",
        action="store_true",
        help=f"stretches of {SIZE} counted tokens, each with its p",
    )
    add("--window-size", type=int, default=SIZE, metavar="N", help="counted tokens a window")
    add(
        "--min-counted",
        type=natural,
        default=0,
        metavar="N",
        help="abstain below N counted tokens",
    )
    add(
        "--null",
        default=DEFAULT,
        metavar="NAME|FILE",
        help="unmarked text to compare with: assistant_en, code, news_de, news_en, a file from "
        "`calibrate`, or default, the most cautious over the shipped ones",
    )
    add("--fail-on", choices=["red", "blue", "any"], help="exit 1 when an input has that verdict")
    add_reading(parser)
    add("--version", action="version", version=f"wm-score {wm_score.__version__}, codebook v1")
    return parser


def calibrate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wm-score calibrate",
        description="Fit a null from text that nobody marked: one document a file, or one a row.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--out", required=True, metavar="NULL.json", help="file to write")
    parser.add_argument("--jsonl", metavar="FIELD", help="documents are this field of JSON lines")
    parser.add_argument("--name", default="own", help="what reports call the null")
    parser.add_argument("--source", default="", help="where the text is from, kept in the file")
    add_reading(parser)
    return parser


def natural(text: str) -> int:
    """A number of tokens from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens; expected 0 or more")
    return int(text)


def add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--errors",
        choices=["strict", "replace"],
        default="strict",
        help="what to do with bytes that are not UTF-8",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def score(options: argparse.Namespace) -> int:
    against = chosen_null(options.null)
    files: list[str] = options.files or ["-"]
    if options.jsonl:
        seen = score_rows(files, options, against)
    elif options.tokens or options.windows:
        seen = show(files, options, against)
    else:
        seen = report(files, options, against)
    if options.fail_on == "any":
        return int(bool(seen & {"red", "blue"}))
    return int(options.fail_on in seen)


def chosen_null(name: str) -> NullLike:
    """A shipped null's name as it is, anything else as a file."""
    if name == DEFAULT or name in null.shipped():
        return name
    if not os.path.exists(name):  # noqa: PTH110 - this package has no other use for pathlib here
        choose(name)  # says which names there are
    return null.load(name)


def report(files: Sequence[str], options: argparse.Namespace, against: NullLike) -> set[str]:
    """Figures of whole files: JSON as they come, or one table at the end."""
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for name in files:
        with reading.opened(name) as file:
            raw = progress(reading.blocks(file, name), len, options.quiet)
            texts = reading.parts(reading.decoded(raw, name, options.errors))
            record = records.measure(name, texts, against, options.min_counted)
        seen.add(record["verdict"])
        told_why(record, options.min_counted)
        if options.json:
            print(json.dumps(record), flush=True)
        else:
            found.append(record)
    if found:
        write(rendering.table(found))
    return seen


def score_rows(files: Sequence[str], options: argparse.Namespace, against: NullLike) -> set[str]:
    """Rows of JSON lines, written back in order with their figures; one row in memory."""
    seen: set[str] = set()
    watched = sys.stdout.isatty()
    sys.stdout.flush()
    for name in files:
        with reading.opened(name) as file:
            lines = reading.rows(file, name, options.jsonl, options.errors)
            for line, text in progress(lines, row_size, options.quiet):
                record = records.measure(name, [text], against, options.min_counted)
                seen.add(record["verdict"])
                write(rows.with_record(line, record) + "\n")
                if watched:
                    sys.stdout.flush()
    sys.stdout.flush()
    return seen


def show(files: Sequence[str], options: argparse.Namespace, against: NullLike) -> set[str]:
    """Coloured tokens or windows: whole texts, in memory."""
    seen: set[str] = set()
    sections: list[str] = []
    for name in files:
        with reading.opened(name) as file:
            raw = reading.blocks(file, name)
            text = "".join(reading.decoded(raw, name, options.errors))
        record = records.measure(name, [text], against, options.min_counted)
        seen.add(record["verdict"])
        if options.windows:
            found = wm_score.windows(text, options.window_size, against)
            write(rendering.window_table(name, text, found))
        elif options.tokens == "ansi":
            write(rendering.ansi(text, wm_score.tokens(text)) + "\n")
            write(rendering.table([record]))
        else:
            sections.append(rendering.section(record, text, wm_score.tokens(text)))
        told_why(record, options.min_counted)
    if sections:
        write(rendering.page(sections))
    return seen


def told_why(record: dict[str, Any], fewest: int) -> None:
    if record["verdict"] == records.ABSTAINED:
        why = f"{record['counted']} counted tokens are fewer than {fewest}"
        print(f"{record['input']}: abstained, {why}", file=sys.stderr)


def calibrate(options: argparse.Namespace) -> int:
    fitted = wm_score.fit_null(documents(options), options.name, options.source)
    try:
        with open(options.out, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(fitted.to_json() + "\n")
    except OSError as problem:
        raise InputError(f"{options.out}: {problem.strerror}; expected a file to write") from None
    print(
        f"{options.out}: {fitted.documents} documents, {fitted.pieces} pieces, "
        f"lowest p {1 / (fitted.pieces + 1):.4f}",
        file=sys.stderr,
    )
    return 0


def documents(options: argparse.Namespace) -> Iterator[str]:
    for name in options.files:
        with reading.opened(name) as file:
            if options.jsonl:
                lines = reading.rows(file, name, options.jsonl, options.errors)
                shown = progress(lines, row_size, options.quiet)
                yield from (text for _, text in shown)
            else:
                yield "".join(reading.decoded(reading.blocks(file, name), name, options.errors))


def progress(items: Iterable[T], size: Callable[[T], int], quiet: bool) -> Iterator[T]:
    """The items, with a line on a terminal's standard error once it takes long."""
    if quiet or not sys.stderr.isatty():
        yield from items
        return
    start = told = time.monotonic()
    done, shown = 0, False
    try:
        for item in items:
            yield item
            done += size(item)
            now = time.monotonic()
            if now - start > SHOW_PROGRESS_AFTER_S and now - told > 0.5:
                told, shown = now, True
                rate = done / 1e6 / (now - start)
                print(
                    f"\r{done / 1e6:.1f} MB, {rate:.1f} MB/s", end="", file=sys.stderr, flush=True
                )
    finally:
        if shown:
            print(file=sys.stderr)


def row_size(row: tuple[str, str]) -> int:
    return len(row[0])


def write(text: str) -> None:
    """To standard output as UTF-8, whatever the locale; what UTF-8 cannot hold as U+FFFD."""
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
