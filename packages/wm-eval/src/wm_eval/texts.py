"""Texts beside the split's own: cut to length bands, unmarked, and what the model itself wrote.

A dataset folder may lack the files; then there is nothing of the kind. Asks no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wm_prompts
from wm_eval.answers import Answer, select
from wm_eval.errors import WmEvalError
from wm_eval.question import (
    COLOURS,
    COLUMNS,
    ORDERS,
    Item,
    Unmarked,
    both_orders,
    detect_item,
    seed_of,
)
from wm_eval.tables import table

UNMARKED_COLUMNS = ("id", "group", "source", "text")
_HERE = "\0"  # in no text: the place of a text in its question


def read_bands(folder: Path, split: str, row_order: Sequence[str], limit: int | None) -> list[Item]:
    """Both orders of each text of `bands/<split>.parquet`, at most `limit` texts of each band."""
    path = folder / "bands" / f"{split}.parquet"
    if not path.is_file():
        return []
    texts: dict[tuple[int, str, str], list[Mapping[str, Any]]] = {}
    for row in table(path, (*COLUMNS, "band"), ("source", "text")):
        key = (int(row["band"]), str(row["row_id"]), str(row["target"]))
        texts.setdefault(key, []).append(row)
    place = {row_id: at for at, row_id in enumerate(row_order)}
    last = len(place)
    order = sorted(texts, key=lambda key: (key[0], place.get(key[1], last), key[1:]))
    taken: dict[int, int] = {}
    items: list[Item] = []
    for band, row_id, colour in order:
        taken[band] = taken.get(band, 0) + 1
        if limit is not None and taken[band] > limit:
            continue
        pair = sorted(texts[band, row_id, colour], key=lambda row: str(row["order"]))
        both_orders(pair, f"{path}: row {row_id}, {colour} text, band {band}")
        family = f"detect-band/{band}/{row_id}/{colour}"
        items += [detect_item(family, row, text_of(row, path), "band", band) for row in pair]
    return items


def text_of(example: Mapping[str, Any], where: Path) -> str:
    """The text that a detect example asks about: its column, or what its question adds to the
    wording."""
    if example.get("text"):
        return str(example["text"])
    first, second = str(example["order"]).split("-")
    around = wm_prompts.render(
        f"detect/question/{example['variant']}", text=_HERE, first=first, second=second
    )
    before, _, after = around.partition(_HERE)
    question = str(example["prompt"][-1]["content"])
    if not (question.startswith(before) and question.endswith(after)):
        raise WmEvalError(
            f"{where}: row {example['row_id']}: the question is not the wording "
            f"{example['variant']!r} of the installed wm-prompts; install the wm-prompts that the "
            "dataset was built with"
        )
    return question[len(before) : len(question) - len(after)]


def read_unmarked(folder: Path) -> list[Unmarked]:
    """The texts of `none/texts.parquet`, in the order of the file."""
    path = folder / "none" / "texts.parquet"
    if not path.is_file():
        return []
    rows = table(path, UNMARKED_COLUMNS)
    return [Unmarked(**{name: str(row[name]) for name in UNMARKED_COLUMNS}) for row in rows]


def own_texts(answers: Sequence[Answer], wordings: Sequence[str], seed: int) -> list[Item]:
    """Detect questions, in both orders, about what the model wrote and the rule gave a colour.

    Only answers that earned the colour they were asked for have a right label. `wordings` are the
    dataset's detect wordings; each text gets one of them by `seed`.
    """
    items: list[Item] = []
    for colour in COLOURS if wordings else ():
        for answer in select(answers, "watermark", colour):
            if answer.passed:
                variant = wordings[seed_of(seed, f"own/{answer.id}") % len(wordings)]
                family = f"detect-own/{answer.group}/{colour}"
                items += [
                    detect_item(
                        family, _example(answer, variant, order), answer.answer, origin="own"
                    )
                    for order in ORDERS
                ]
    return items


def _example(answer: Answer, variant: str, order: str) -> dict[str, Any]:
    """The model's answer as a detect example of the dataset's layout."""
    first, second = order.split("-")
    system = wm_prompts.render(f"detect/system/{variant}")
    question = wm_prompts.render(
        f"detect/question/{variant}", text=answer.answer, first=first, second=second
    )
    return {
        "group": answer.group,
        "target": answer.expected,
        "variant": variant,
        "order": order,
        "prompt": [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ],
    }
