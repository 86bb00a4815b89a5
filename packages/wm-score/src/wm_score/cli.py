"""The command `wm-score`: reads files, reports figures. Decides nothing about them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import wm_score
from wm_score import null_file, output, reading, records, rendering, rows
from wm_score.calibrating import calibrate
from wm_score.errors import InputError, WmScoreError
from wm_score.null_file import DEFAULT
from wm_score.output import progress, tell, write
from wm_score.proof import NullLike, choose
from wm_score.visible import visible
from wm_score.windowing import SIZE

ROWS = (".jsonl", ".ndjson", ".csv", ".parquet")  # files that hold more than one text

DESCRIPTION = """\
Read the red/blue parity watermark in text: counts of even and odd Qwen3 token ids, the verdict of
codebook v1, and p-values against unmarked text. A verdict alone is no proof: under the rule 44 % of
unmarked English replies are "blue". `wm-score calibrate --help` fits a null from your own text.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 1 by --fail-on, 2 for bad input."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        try:
            if given[:1] == ["calibrate"]:
                return calibrate(calibrate_parser().parse_args(given[1:]))
            return score(score_parser().parse_args(given))
        finally:
            output.flush()  # here, where its errors are told
    except WmScoreError as problem:
        tell(f"error: {problem}")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        output.abandon()
        return 0
    except OSError as problem:  # reading has errors of its own
        output.abandon()
        tell(f"error: standard output: {problem.strerror or problem}; expected room to write")
        return 2


class Parser(argparse.ArgumentParser):
    """Its errors name what was typed, control characters shown."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def score_parser() -> argparse.ArgumentParser:
    """The options of the command without a subcommand."""
    parser = Parser(prog="wm-score", description=DESCRIPTION)
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
    add("--window-size", type=int, metavar="N", help=f"counted tokens a window ({SIZE})")
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
    """The options of `wm-score calibrate`."""
    parser = Parser(
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
    """Score what the options name and print it; the exit code."""
    if options.window_size is not None and not options.windows:
        raise InputError("--window-size is for --windows; pass both or neither")
    against = chosen_null(options.null)
    files: list[str] = options.files or ["-"]
    if options.jsonl is not None:
        seen = score_rows(files, options, against)
    elif options.tokens or options.windows:
        seen = show(files, options, against)
    else:
        seen = report(files, options, against)
    if options.jsonl is None and not options.quiet:
        for name in files:
            if name.endswith(ROWS):
                tell(f"{name}: judged as one text, with its keys; --jsonl FIELD reads rows")
    if options.fail_on == "any":
        return int(bool(seen & {"red", "blue"}))
    return int(options.fail_on in seen)


def chosen_null(name: str) -> NullLike:
    """A shipped null's name as it is, anything else as a file."""
    if name == DEFAULT or name in null_file.shipped():
        return name
    if not os.path.exists(name):  # noqa: PTH110 - this package has no other use for pathlib here
        if name.endswith(".json") or os.sep in name:
            raise InputError(f"--null {name}: no such file; `wm-score calibrate` writes one")
        choose(name)  # says which names there are
    return null_file.load(name)


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
            write(json.dumps(record) + "\n")
            output.flush()
        else:
            found.append(record)
    if found:
        write(rendering.table(found))
    return seen


def score_rows(files: Sequence[str], options: argparse.Namespace, against: NullLike) -> set[str]:
    """Rows of JSON lines, written back in order with their figures; one row in memory."""
    seen: set[str] = set()
    watched = output.is_watched()
    for name in files:
        done = abstained = 0
        with reading.opened(name) as file:
            lines = reading.rows(file, name, options.jsonl, options.errors)
            for line, text in progress(lines, reading.row_size, options.quiet):
                record = records.measure(name, [text], against, options.min_counted)
                seen.add(record["verdict"])
                done += 1
                abstained += record["verdict"] == records.ABSTAINED
                write(rows.with_record(line, record) + "\n")
                if watched:
                    output.flush()
        if abstained:
            fewest = f"fewer than {options.min_counted} counted tokens"
            tell(f"{name}: abstained on {abstained} of {done} rows, which have {fewest}")
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
            size = SIZE if options.window_size is None else options.window_size
            found = wm_score.windows(text, size, against)
            judged = record["verdict"] != records.ABSTAINED
            write(rendering.window_table(name, text, found, judged))
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
        tell(f"{record['input']}: abstained, {why}")
