"""Forward passes over trees, as tensors. Knows no model and no loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wm_train.attention import FLEX
from wm_train.filling import Row, area, filled, groups_of, length, widest, with_group
from wm_train.grouping import NEUTRAL, Group, Pair, apart, grouped, together, under_neutral
from wm_train.trees import Indices, Tree

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TASKS = ("watermark", "detect")
# On a GPU a pass of a small model costs thousands of launches, however few its tokens; a CPU pays
# for tokens alone.
PASS_TOKENS = 2048


@dataclass(frozen=True)
class Pack:
    """One forward pass over some pairs, or over some texts under neutral prompts.

    An *edge* is a token to predict and the place of the token before it. Sequences 0 to pairs - 1
    are the chosen ones, those after them the rejected ones in the same order. Texts under neutral
    prompts are sequences of no pair, and never in a pack with pairs.
    """

    ids: Tensor  # (rows, length)
    positions: Tensor  # (rows, length), from 0 in each sequence
    ends: Tensor  # (rows, length), one past a token's last descendant; see wm_train.trees
    valid: Tensor  # (rows, length), False where there is padding
    sources: Tensor  # (edges,), index into rows * length of the hidden state that predicts
    targets: Tensor  # (edges,), the ids that are predicted
    answer_edges: Tensor  # (answer tokens,), edges of all answers, one after another
    answer_sequences: Tensor  # (answer tokens,), whose they are
    answer_lengths: Tensor  # (sequences,), of each answer: counting them would halt a GPU
    text_edges: Tensor  # (chosen tokens,), edges of prompt and answer together; empty if not asked
    text_pairs: Tensor  # (chosen tokens,), whose they are
    tasks: Tensor  # (pairs,), index into TASKS
    twins: Tensor  # (pairs,), where each pair's twin is; its own place if that is not here
    reference: Tensor  # (answer tokens,), of the base under neutral prompts; empty where unknown
    shared: bool  # False: each row is one sequence, and an ordinary causal mask is right
    unshared_tokens: int  # tokens of the pairs' sequences, counted one by one

    @property
    def pairs(self) -> int:
        return len(self.tasks)

    @property
    def neutral(self) -> bool:
        """Whether it holds texts under neutral prompts, and no pairs."""
        return not self.pairs

    def to(self, device: torch.device | str, **kwargs: Any) -> Pack:
        """The same pack on another device (accelerate calls this)."""
        return self._each(lambda tensor: tensor.to(device, **kwargs))

    def pin_memory(self) -> Pack:
        """The same pack where a GPU can fetch it by itself (torch's data loader calls this)."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Pack:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {k: change(v) for k, v in values.items() if not isinstance(v, bool | int)}
        return replace(self, **changed)


@dataclass(frozen=True)
class Packing:
    """How pairs become forward passes."""

    budget: int  # tokens a forward pass, padding included
    pad_id: int
    text: bool = False  # log-probabilities of prompts are wanted as well
    shared: bool = True  # equal beginnings are computed once; False: padded single sequences
    whole_row: bool = False  # one row a pack, for kernels that skip what the mask hides
    pass_tokens: int = 0  # what a forward pass costs beside its tokens, in tokens
    twins: bool = False  # a row's watermark pairs go into one pass, for a loss across both

    @classmethod
    def of(
        cls,
        pack_tokens: int,
        *,
        nll_scope: str,
        contrast: str,
        share_prefixes: bool,
        attention: str,
        device: str,
        pad_id: int = 0,
    ) -> Packing:
        """As a training has it: for its loss, its attention and the kind of its device."""
        return cls(
            budget=pack_tokens,
            pad_id=pad_id,
            text=nll_scope == "full",
            shared=share_prefixes,
            whole_row=attention == FLEX,
            pass_tokens=PASS_TOKENS if device == "cuda" else 0,
            twins=contrast == "prompts",
        )

    def packs(self, examples: Sequence[Mapping[str, Any]]) -> list[Pack]:
        """All examples in as few packs as the budget allows; those under neutral prompts last."""
        groups = grouped(examples, self.shared, self.twins, self.whole_row)
        pairs = [_tensors(rows, self.pad_id, self.text, self.shared) for rows in self._plan(groups)]
        shown = [example for example in examples if example.get("neutral_ids")]
        return pairs + [pack for pack, _ in self.neutral(shown)]

    def neutral(self, examples: Sequence[Mapping[str, Any]]) -> list[tuple[Pack, list[int]]]:
        """The examples' chosen answers under neutral prompts, and whose they are in a pack."""
        groups = [under_neutral(example) for example in examples]
        number = {id(group): at for at, group in enumerate(groups)}
        return [
            (
                _tensors(rows, self.pad_id, text=False, shared=self.shared),
                [number[id(group)] for group in groups_of(rows)],
            )
            for rows in (self._plan(groups) if groups else [])
        ]

    def family(self, examples: Sequence[Mapping[str, Any]]) -> Pack:
        """One tree of all examples, in their order, whatever the budget."""
        rows = with_group([], together(examples), 0)
        return _tensors(rows, self.pad_id, self.text, shared=True)

    def alone(self, example: Mapping[str, Any]) -> Pack:
        """The two sequences of one example, each in a row."""
        rows = with_group([], apart([example]), 0)
        return _tensors(rows, self.pad_id, self.text, shared=False)

    def _plan(self, groups: list[Group]) -> list[list[Row]]:
        if not self.shared:
            return filled(groups, 0, self.budget)
        # sdpa computes the square of a row's length: rows are about as long as the largest tree.
        largest = max(map(widest, groups))
        sizes = [self.budget] if self.whole_row else [largest * n // 10 for n in range(10, 21)]
        plans = [filled(groups, min(n, self.budget), self.budget) for n in sizes]
        return min(plans, key=lambda packs: sum(map(area, packs)) + len(packs) * self.pass_tokens)


# ------------------------------------------------------------------------------------------ tensors
def _tensors(rows: list[Row], pad_id: int, text: bool, shared: bool) -> Pack:
    """Lays the trees of `rows` out in a rectangle and numbers the edges that are wanted."""
    import torch

    height, width = len(rows), max(map(length, rows))
    grid = {name: np.zeros((height, width), dtype=np.int64) for name in ("positions", "sources")}
    grid["ids"] = np.full((height, width), pad_id, dtype=np.int64)
    grid["valid"] = np.zeros((height, width), dtype=np.int64)
    grid["ends"] = np.arange(1, width + 1, dtype=np.int64)[None].repeat(height, 0)
    starts: dict[tuple[int, int], int] = {}  # flat place of each tree's first token
    for line, row in enumerate(rows):
        column = 0
        for slot in row:
            tree = slot.group.trees[slot.tree]
            _place(tree, grid, line, column)
            starts[id(slot.group), slot.tree] = line * width + column
            column += len(tree)
    chosen: list[Indices] = []  # of each pair: flat places of the tokens of its sequences
    rejected: list[Indices] = []
    pairs: list[Pair] = []
    twins: list[int] = []
    for group in groups_of(rows):
        twins += [len(pairs) + pair.twin for pair in group.pairs]
        pairs += group.pairs
        for pair in group.pairs:
            chosen.append(starts[id(group), pair.chosen[0]] + pair.chosen[1])
            if pair.rejected is not None:
                rejected.append(starts[id(group), pair.rejected[0]] + pair.rejected[1])
    prompts = [pair.prompt_tokens for pair in pairs]
    sides = (chosen, rejected) if rejected else (chosen,)
    answers = [s[p:] for side in sides for s, p in zip(side, prompts, strict=True)]
    of_a_task = [pair for pair in pairs if pair.task != NEUTRAL]
    texts = [sequence[1:] for sequence in chosen] if text else []
    wanted, edges = np.unique(np.concatenate([*answers, *texts]), return_inverse=True)
    answer_tokens = sum(map(len, answers))
    arrays = {
        **{name: grid[name] for name in ("ids", "positions", "ends")},
        "valid": grid["valid"] == 1,
        "sources": grid["sources"].ravel()[wanted],
        "targets": grid["ids"].ravel()[wanted],
        "answer_edges": edges[:answer_tokens],
        "answer_sequences": _whose(answers),
        "answer_lengths": np.array([len(answer) for answer in answers]),
        "text_edges": edges[answer_tokens:],
        "text_pairs": _whose(texts),
        "tasks": np.array([TASKS.index(pair.task) for pair in of_a_task], dtype=np.int64),
        "twins": np.array(twins if of_a_task else [], dtype=np.int64),
        "reference": np.array([x for pair in pairs for x in pair.reference], dtype=np.float32),
    }
    return Pack(
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
        shared=shared,
        unshared_tokens=sum(map(len, chosen)) + sum(map(len, rejected)),
    )


def _place(tree: Tree, grid: dict[str, Indices], line: int, column: int) -> None:
    span = (line, slice(column, column + len(tree)))
    grid["ids"][span] = tree.ids
    grid["positions"][span] = tree.depths
    grid["ends"][span] = column + tree.ends
    grid["sources"][span] = line * grid["ids"].shape[1] + column + tree.parents
    grid["valid"][span] = 1


def _whose(parts: Sequence[Indices]) -> Indices:
    """For each token of `parts`, one after another, the number of its part."""
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)
