"""The command `wm-score`: counts and verdict of files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wm_score import CODEBOOK, score


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="wm-score", description="Read the red/blue watermark in files."
    )
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args(argv)
    for name in arguments.files or ["-"]:
        try:
            if name == "-":
                text = sys.stdin.buffer.read().decode("utf-8")
            else:
                text = Path(name).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            print(f"error: {name}: {problem}", file=sys.stderr)
            return 2
        found = score(text)
        record = {
            "input": name,
            "even": found.even,
            "odd": found.odd,
            "ignored": found.ignored,
            "red_share": found.red_share,
            "blue_share": found.blue_share,
            "verdict": found.verdict,
            "counted": found.counted,
            "codebook": CODEBOOK,
        }
        if arguments.json:
            print(json.dumps(record))
        else:
            print(f"{name}: {found.verdict} ({found.red_share:.3f} red, {found.counted} counted)")
    return 0
