"""Turns a dataset's examples into token ids for the trainer. Renders no prompt itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from wm_train.errors import DataError
from wm_train.token_table import TokenTable

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

COLUMNS = ("id", "row_id", "task", "prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Pairs:
    """Tokenised preference pairs, and what was left out of them."""

    data: Dataset  # id, row_id, task, prompt_ids, chosen_ids, rejected_ids
    too_long: list[str]  # row ids, in order
    longest: int  # tokens of the longest sequence that is in


def tokenize(
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    batch_size: int = 1,
    console: Console | None = None,
) -> Pairs:
    """Token ids of every example; rows with a sequence above `max_tokens` are left out whole.

    Nothing is truncated: a cut answer would teach to stop mid-sentence, and a prompt that fills
    `max_tokens` would leave no label at all, which makes every weight NaN after one step.
    """
    from rich.progress import track

    from wm_eval.prompting import completion_ids, prompt_ids

    missing = [name for name in COLUMNS if name not in examples.column_names]
    if missing:
        raise DataError(
            f"the training split has no column {missing[0]!r} (it has: "
            f"{', '.join(examples.column_names)}); build it with wm-data build"
        )
    rows = TokenTable()
    longest_of: Counter[str] = Counter()
    lines = cast("Iterable[dict[str, Any]]", examples)
    for example in track(
        lines,
        "tokenising",
        total=len(examples),
        console=console,
        disable=console is None or not console.is_terminal,
        transient=True,
    ):
        prompt = prompt_ids(tokenizer, example["prompt"])
        chosen = completion_ids(tokenizer, example["chosen"][0]["content"])
        rejected = completion_ids(tokenizer, example["rejected"][0]["content"])
        row: str = example["row_id"]
        longest_of[row] = max(longest_of[row], len(prompt) + max(len(chosen), len(rejected)))
        rows.append((example["id"], row, example["task"]), (prompt, chosen, rejected))
    too_long = [row for row, length in longest_of.items() if length > max_tokens]
    kept = rows.without(too_long)
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
