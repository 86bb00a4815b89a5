"""Turns a dataset's examples into token ids for the trainer. Renders no prompt itself."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wm_train import columns, neutral
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
BATCH = 1000  # pairs at a time: enough texts for every core


@dataclass(frozen=True)
class Pairs:
    """Tokenised preference pairs, and what was left out of them."""

    data: Dataset  # id, row_id, task, prompt_ids, chosen_ids, rejected_ids, neutral_ids
    too_long: list[str]  # row ids, in order
    longest: int  # tokens of the longest sequence that is in


def tokenize(
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    batch_size: int = 1,
    console: Console | None = None,
    neutral_share: float = 0.0,
) -> Pairs:
    """Token ids of every example; rows with a sequence above `max_tokens` are left out whole.

    `neutral_ids` is a neutral prompt under which the chosen answer is shown as well; empty where
    there is none. That share of the rows has one.

    Nothing is truncated: a cut answer would teach to stop mid-sentence, and a prompt that fills
    `max_tokens` would leave no label at all, which makes every weight NaN after one step.
    """
    from wm_eval.prompting import end_of_turn

    _check_columns(examples.column_names, bool(neutral_share))
    end = end_of_turn(tokenizer)
    with telling(console, "tokenising", len(examples), "pairs") as advance:

        def ids(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            found = _encode(batch, tokenizer, end, neutral_share)
            advance(len(batch["prompt"]))
            return found

        # 300 million ids of 120,000 rows: in Arrow's memory, 4 bytes each. The fingerprint is of no
        # use to a table that is never cached, and to make it would hash the tokenizer and the bar.
        rows: Any = examples.map(
            ids,
            batched=True,
            batch_size=BATCH,
            remove_columns=[name for name in examples.column_names if name not in NAMES],
            features=_features(),
            keep_in_memory=True,
            new_fingerprint=uuid.uuid4().hex,
        )
    return _within(rows, max_tokens, batch_size)


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
) -> dict[str, list[Any]]:
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
    return dict(zip(IDS, parts, strict=True)) | {"longest": longest}


def _within(rows: Any, max_tokens: int, batch_size: int) -> Pairs:
    """Leave out every row with a sequence above `max_tokens`; refuse what is then too little."""
    longest_of: Counter[str] = Counter()
    row_ids: list[str] = columns.values(rows, "row_id")
    for row, length in zip(row_ids, columns.values(rows, "longest"), strict=True):
        longest_of[row] = max(longest_of[row], length)
    rows = rows.remove_columns("longest")
    too_long = [row for row, length in longest_of.items() if length > max_tokens]
    out = set(too_long)
    kept = rows
    if out:  # copied: an index over the table would be followed at every look into it
        places = [at for at, row in enumerate(row_ids) if row not in out]
        kept = rows.select(places).flatten_indices(keep_in_memory=True)
    if not len(kept):
        raise DataError(
            f"all {len(longest_of):,} training rows are longer than data.max_tokens = {max_tokens} "
            f"(the shortest has {min(longest_of.values(), default=0):,}); raise data.max_tokens"
        )
    if len(kept) < batch_size:
        raise DataError(
            f"{len(kept):,} training pairs do not fill one batch of {batch_size:,}; "
            "lower optim.batch_size or give more rows"
        )
    longest = max(length for length in longest_of.values() if length <= max_tokens)
    return Pairs(kept, too_long, longest)


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


def _features() -> Any:
    from datasets import Features, List, Value

    names = dict.fromkeys(NAMES, Value("string"))
    return Features(names | dict.fromkeys(IDS, List(Value("int32"))) | {"longest": Value("int32")})
