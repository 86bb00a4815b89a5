"""Fills forward passes with trees up to a budget of tokens. Knows no model and no loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wm_train.grouping import Group, Pair, apart, grouped, together
from wm_train.trees import Indices, Tree

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TASKS = ("watermark", "detect")


@dataclass(frozen=True)
class Pack:
    """One forward pass over some pairs.

    An *edge* is a token to predict and the place of the token before it. Sequences 0 to pairs - 1
    are the chosen ones, those after them the rejected ones in the same order.
    """

    ids: Tensor  # (rows, length)
    positions: Tensor  # (rows, length), from 0 in each sequence
    ends: Tensor  # (rows, length), one past a token's last descendant; see wm_train.trees
    valid: Tensor  # (rows, length), False where there is padding
    sources: Tensor  # (edges,), index into rows * length of the hidden state that predicts
    targets: Tensor  # (edges,), the ids that are predicted
    answer_edges: Tensor  # (answer tokens,), edges of all answers, one after another
    answer_sequences: Tensor  # (answer tokens,), whose they are
    answer_lengths: Tensor  # (2 * pairs,), of each answer: counting them would halt a GPU
    text_edges: Tensor  # (chosen tokens,), edges of prompt and answer together; empty if not asked
    text_pairs: Tensor  # (chosen tokens,), whose they are
    tasks: Tensor  # (pairs,), index into TASKS
    twins: Tensor  # (pairs,), where each pair's twin is; its own place if that is not here
    shared: bool  # False: each row is one sequence, and an ordinary causal mask is right
    unshared_tokens: int  # tokens of the pairs' sequences, counted one by one

    @property
    def pairs(self) -> int:
        return len(self.tasks)

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

    def packs(self, examples: Sequence[Mapping[str, Any]]) -> list[Pack]:
        """All examples in as few packs as the budget allows."""
        groups = grouped(examples, self.shared, self.twins)
        return [_tensors(rows, self.pad_id, self.text) for rows in self._plan(groups)]

    def family(self, examples: Sequence[Mapping[str, Any]]) -> Pack:
        """One tree of all examples, in their order, whatever the budget."""
        return _tensors([[together(examples)]], self.pad_id, self.text)

    def alone(self, example: Mapping[str, Any]) -> Pack:
        """The two sequences of one example, each in a row."""
        return _tensors([[apart([example])]], self.pad_id, self.text)

    def _plan(self, groups: list[Group]) -> list[list[Row]]:
        if not self.shared:
            return _packs([[group] for group in groups], self.budget)
        # sdpa computes the square of a row's length: rows are about as long as the largest tree.
        largest = max(len(group.trees[0]) for group in groups)
        sizes = [self.budget] if self.whole_row else [largest * n // 10 for n in range(10, 21)]
        plans = [_packs(_rows(groups, min(n, self.budget)), self.budget) for n in sizes]
        return min(plans, key=lambda packs: _area(packs) + len(packs) * self.pass_tokens)


Row = list[Group]  # trees side by side; a group of single sequences takes a row for each


# ------------------------------------------------------------------------------------------ filling


def _rows(groups: Sequence[Group], capacity: int) -> list[Row]:
    """First fit, longest first: trees side by side in rows of at most `capacity` tokens."""
    rows: list[Row] = []
    for group in sorted(groups, key=lambda g: -len(g.trees[0])):
        size = len(group.trees[0])
        fitting = next((row for row in rows if _length(row) + size <= capacity), None)
        if fitting is None:
            rows.append([group])
        else:
            fitting.append(group)
    return rows


def _packs(rows: list[Row], budget: int) -> list[list[Row]]:
    """Rows of like length together, as many as the budget allows."""
    packs: list[list[Row]] = []
    for row in sorted(rows, key=_length, reverse=True):
        if packs and _area([[*packs[-1], row]]) <= budget:
            packs[-1].append(row)
        else:
            packs.append([row])
    return packs


def _length(row: Row) -> int:
    """Tokens side by side; of the longest sequence where each has a row of its own."""
    if len(row[0].trees) > 1:
        return max(len(tree) for tree in row[0].trees)
    return sum(len(group.trees[0]) for group in row)


def _area(packs: list[list[Row]]) -> int:
    """Tokens computed, padding included."""
    return sum(
        sum(len(row[0].trees) for row in rows) * max(_length(row) for row in rows) for rows in packs
    )


# ------------------------------------------------------------------------------------------ tensors
def _tensors(rows: list[Row], pad_id: int, text: bool) -> Pack:
    """Lays the groups of `rows` out in rectangles and numbers the edges that are wanted."""
    import torch

    height = sum(len(row[0].trees) for row in rows)
    length = max(_length(row) for row in rows)
    grid = {name: np.zeros((height, length), dtype=np.int64) for name in ("positions", "sources")}
    grid["ids"] = np.full((height, length), pad_id, dtype=np.int64)
    grid["valid"] = np.zeros((height, length), dtype=np.int64)
    grid["ends"] = np.arange(1, length + 1, dtype=np.int64)[None].repeat(height, 0)
    chosen: list[Indices] = []  # of each pair: flat places of the tokens of its sequences
    rejected: list[Indices] = []
    pairs: list[Pair] = []
    twins: list[int] = []
    line = 0
    for row in rows:
        column = 0
        for item in row:
            starts: list[int] = []
            for tree in item.trees:
                starts.append(line * length + column)
                _place(tree, grid, line, column)
                if len(item.trees) > 1:
                    line += 1
                else:
                    column += len(tree)
            twins += [len(pairs) + pair.twin for pair in item.pairs]
            for pair in item.pairs:
                pairs.append(pair)
                chosen.append(starts[pair.chosen[0]] + pair.chosen[1])
                rejected.append(starts[pair.rejected[0]] + pair.rejected[1])
        line += len(row[0].trees) == 1
    prompts = [pair.prompt_tokens for pair in pairs]
    answers = [s[p:] for side in (chosen, rejected) for s, p in zip(side, prompts, strict=True)]
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
        "tasks": np.array([TASKS.index(pair.task) for pair in pairs]),
        "twins": np.array(twins),
    }
    return Pack(
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
        shared=len(rows[0][0].trees) == 1,
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
