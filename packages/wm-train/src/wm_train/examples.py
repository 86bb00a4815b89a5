"""Turns a dataset's examples into token ids for the trainer. Renders no prompt itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from wm_train import mapped, neutral
from wm_train.errors import DataError
from wm_train.telling import telling

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

NAMES = ("id", "row_id", "task")
IDS = ("prompt_ids", "chosen_ids", "rejected_ids", "neutral_ids")
COLUMNS = (*NAMES, "prompt", "chosen", "rejected")
FOR_NEUTRAL = ("target", "variant")  # columns that are needed for neutral prompts as well
BATCH = 1000  # pairs at a time: enough texts for every core, and few enough for the memory


class Examples(Protocol):
    """A split of a dataset: a `wm_data` stream, or a `datasets.Dataset`."""

    @property
    def column_names(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def iter(self, batch_size: int) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Pairs:
    """Tokenised preference pairs, and what was left out of them."""

    data: Dataset  # id, row_id, task, prompt_ids, chosen_ids, rejected_ids, neutral_ids
    too_long: list[str]  # row ids, in order
    longest: int  # tokens of the longest sequence that is in


def tokenize(
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    batch_size: int = 1,
    console: Console | None = None,
    neutral_share: float = 0.0,
    path: Path | None = None,
) -> Pairs:
    """Token ids of every example; rows with a sequence above `max_tokens` are left out whole.

    They are in the file `path` and mapped, or in memory where there is none. `neutral_ids` is a
    neutral prompt under which the chosen answer is shown as well; empty where there is none. That
    share of the rows has one.

    Nothing is truncated: a cut answer would teach to stop mid-sentence, and a prompt that fills
    `max_tokens` would leave no label at all, which makes every weight NaN after one step.
    """
    from wm_eval.prompting import end_of_turn

    _check_columns(examples.column_names, bool(neutral_share))
    end = end_of_turn(tokenizer)
    longest_of: dict[str, int] = {}
    with telling(console, "tokenising", len(examples), "pairs") as advance:

        def encoded() -> Iterator[dict[str, list[Any]]]:
            for batch in examples.iter(BATCH):
                found, lengths = _encode(batch, tokenizer, end, neutral_share)
                for row, length in zip(batch["row_id"], lengths, strict=True):
                    longest_of[row] = max(longest_of.get(row, 0), length)
                yield {name: batch[name] for name in NAMES} | found
                advance(len(lengths))

        rows = mapped.written(encoded(), _types(), path)
    too_long = [row for row, length in longest_of.items() if length > max_tokens]
    if len(too_long) == len(longest_of):
        raise DataError(
            f"all {len(longest_of):,} training rows are longer than data.max_tokens = {max_tokens} "
            f"(the shortest has {min(longest_of.values(), default=0):,}); raise data.max_tokens"
        )
    kept = mapped.without(rows, "row_id", too_long, path) if too_long else rows
    enough(len(kept), batch_size)
    longest = max(length for length in longest_of.values() if length <= max_tokens)
    return Pairs(kept, too_long, longest)


def enough(pairs: int, batch_size: int) -> None:
    """Raise `DataError` for fewer pairs than a step takes."""
    if pairs < batch_size:
        raise DataError(
            f"{pairs:,} training pairs do not fill one batch of {batch_size:,}; "
            "lower optim.batch_size or give more rows"
        )


def _check_columns(present: Sequence[str], with_neutral: bool) -> None:
    wanted = (*COLUMNS, *FOR_NEUTRAL) if with_neutral else COLUMNS
    missing = [name for name in wanted if name not in present]
    if missing:
        raise DataError(
            f"the training split has no column {missing[0]!r} (it has: "
            f"{', '.join(present)}); build it with wm-data build"
        )


def _encode(
    batch: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    end: int,
    neutral_share: float,
) -> tuple[dict[str, list[Any]], list[int]]:
    """Columns of ids, and of each pair the tokens of its longest sequence.

    All texts in one call: a row's two answers stand in both of its watermark pairs.
    """
    from wm_eval.prompting import encode_all, prompt_text

    number = len(batch["prompt"])
    texts = [prompt_text(tokenizer, messages) for messages in batch["prompt"]]
    for side in ("chosen", "rejected"):
        texts += [messages[0]["content"] for messages in batch[side]]
    shown = _neutral_prompts(batch, neutral_share)
    texts += [prompt_text(tokenizer, messages) for messages in shown.values()]
    found = encode_all(tokenizer, texts)
    answers = [[*answer, end] for answer in found[number : 3 * number]]
    plain = dict(zip(shown, found[3 * number :], strict=True))
    parts = (
        found[:number],
        answers[:number],
        answers[number:],
        [plain.get(at, []) for at in range(number)],
    )
    longest = [
        max(len(p) + max(len(c), len(r)), len(n) + len(c) if n else 0)
        for p, c, r, n in zip(*parts, strict=True)
    ]
    return dict(zip(IDS, parts, strict=True)), longest


def _neutral_prompts(batch: dict[str, list[Any]], share: float) -> dict[int, Any]:
    """Messages of the neutral prompts of a batch, by the number of the example that has one."""
    if not share:
        return {}
    found = zip(batch["task"], batch["target"], batch["row_id"], strict=True)
    shown = [
        at
        for at, (task, target, row) in enumerate(found)
        if task == "watermark" and neutral.answer_of(row, share) == target
    ]
    return {at: neutral.prompt({k: v[at] for k, v in batch.items()}) for at in shown}


def _types() -> list[tuple[str, Any]]:
    """Of the columns. 300 million ids of 120,000 rows take 4 bytes each."""
    import pyarrow as pa

    ids = cast(Any, pa).list_(cast(Any, pa).int32())
    return [(name, cast(Any, pa).string()) for name in NAMES] + [(name, ids) for name in IDS]
