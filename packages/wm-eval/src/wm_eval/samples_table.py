"""Judged answers as samples.parquet: a row each, flat columns, for whoever counts in a data frame.

The same answers as samples.jsonl, which is what wm-eval itself reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from wm_eval.answers import Answer
from wm_eval.atomic import replaced

NAME = "samples.parquet"

# Column, its type in Arrow's words, whether it may be empty, what it says, where it comes from.
Column = tuple[str, str, bool, str, Callable[[Answer], Any]]


def _own(name: str, kind: str, what: str, empty: bool = False) -> Column:
    return name, kind, empty, what, lambda answer: getattr(answer, name)


def _option(word: str) -> Column:
    what = f"detect: natural logarithm of the probability of {word!r} as the answer"
    return f"log_p_{word}", "double", True, what, lambda answer: answer.options.get(word)


COLUMNS: tuple[Column, ...] = (
    _own("id", "string", "of the item asked; unique in the file"),
    _own("task", "string", "watermark, detect, or unmarked: a text that was only scored"),
    _own("group", "string", "hash of the prompt: items of one group are not independent"),
    _own("arm", "string", "watermark: red, blue or neutral; detect: the order of the two words"),
    _own("variant", "string", "wording of the prompt"),
    _own("heldout_wording", "bool", "the wording is never trained on"),
    _own("messages", "messages", "the chat that was sent: role and content"),
    _own("expected", "string", "the colour that is right; empty where none is", empty=True),
    _own("text", "string", "detect: the text judged; watermark: the dataset's own answer"),
    _own("answer", "string", "what the model wrote, without the end of its turn"),
    _own("tokens", "int64", "sampled tokens, the end of turn not counted"),
    _own("stopped", "bool", "the model ended its turn itself"),
    _option("red"),
    _option("blue"),
    _own("kind", "string", "ok, empty, refused, truncated, short or unparseable"),
    _own("verdict", "string", "watermark: of the rule; detect: the colour named, or none"),
    _own("even", "int64", "counted red tokens of the answer under Qwen3's tokenizer"),
    _own("odd", "int64", "counted blue tokens"),
    _own("ignored", "int64", "tokens that the rule does not count"),
    _own("passed", "bool", "a success: the right verdict, on a whole answer"),
    _own("origin", "string", "of the text or model: seed, band, own, base or none"),
    _own("source", "string", "the dataset's name for where the text came from"),
    _own("band", "int64", "counted tokens that a text was cut to", empty=True),
    (
        "base_log_likelihood",
        "double",
        True,
        "natural logarithm of the answer's probability under the base model, neutrally prompted",
        lambda answer: answer.base.get("log_likelihood"),
    ),
    (
        "base_tokens",
        "int64",
        True,
        "tokens of the answer in the base model's vocabulary",
        lambda answer: int(answer.base["tokens"]) if answer.base else None,
    ),
)


def write(answers: Iterable[Answer], path: Path) -> None:
    """All answers to `path`, through a file beside it that is renamed when whole.

    The same answers give the same bytes under one version of pyarrow.
    """
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    pa, pq = cast(Any, arrow), cast(Any, parquet)  # untyped
    types: dict[str, Any] = {
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
    }
    schema: Any = pa.schema(
        [
            pa.field(name, types.get(kind) or kind, empty, metadata={"description": what})
            for name, kind, empty, what, _ in COLUMNS
        ]
    )
    rows = list(answers)
    columns = [[value(answer) for answer in rows] for *_, value in COLUMNS]
    table: Any = pa.table(columns, schema=schema)
    with replaced(path) as staging:
        pq.write_table(table, staging, compression="zstd")
