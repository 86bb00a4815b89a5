"""Which pairs are computed side by side, and in which trees. Knows no model and no loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from wm_train.trees import Indices, Tree, families, grow

NEUTRAL = "neutral"  # in place of a task: a text that is neither asked for nor read


class Pair(NamedTuple):
    """Where the sequences of a pair are in its group: the tree, and the tokens' indices in it."""

    task: str
    twin: int  # number of its twin in the group; its own if there is none
    chosen: tuple[int, Indices]
    rejected: tuple[int, Indices] | None  # None: a text under a neutral prompt has no other
    prompt_tokens: int
    reference: Sequence[float] = ()  # the base's log-probabilities of a text under a neutral prompt


class Group(NamedTuple):
    """Trees that go into one pack, since a loss needs answers of all."""

    trees: list[Tree]
    pairs: list[Pair]


def grouped(
    examples: Sequence[Mapping[str, Any]],
    shared: bool,
    twins: bool = False,
    one_line: bool = False,
) -> list[Group]:
    """Groups of tokenised pairs: one tree for each family of prompts, or each sequence apart.

    With `twins` the two watermark pairs of a row are one group, of a tree for each prompt; of one
    tree for both if groups are to be of one line.
    """
    couples = [(i, j) for i, j in enumerate(twins_of(examples)) if i < j] if twins else []
    make = (together if one_line else by_prompt) if shared else apart
    groups = [make([examples[i] for i in couple]) for couple in couples]
    coupled = {i for couple in couples for i in couple}
    rest = [example for i, example in enumerate(examples) if i not in coupled]
    if not shared:
        return groups + [apart([example]) for example in rest]
    prompts = [example["prompt_ids"] for example in rest]
    return groups + [together([rest[i] for i in family]) for family in families(prompts)]


def together(examples: Sequence[Mapping[str, Any]]) -> Group:
    """All sequences of the pairs in one tree."""
    tree = grow([sequence for example in examples for sequence in _sequences(example)])
    return Group([tree], _pairs(examples, [(0, path) for path in tree.paths]))


def by_prompt(examples: Sequence[Mapping[str, Any]]) -> Group:
    """A tree for each pair. Prompts that differ early would only widen each other's mask."""
    trees = [grow(_sequences(example)) for example in examples]
    return Group(trees, _pairs(examples, [(i, p) for i, t in enumerate(trees) for p in t.paths]))


def apart(examples: Sequence[Mapping[str, Any]]) -> Group:
    """Each sequence of the pairs by itself."""
    trees = [grow([sequence]) for example in examples for sequence in _sequences(example)]
    return Group(trees, _pairs(examples, [(i, tree.paths[0]) for i, tree in enumerate(trees)]))


def under_neutral(example: Mapping[str, Any]) -> Group:
    """The chosen answer under the example's neutral prompt, by itself."""
    prompt = example["neutral_ids"]
    tree = grow([[*prompt, *example["chosen_ids"]]])
    known = example.get("reference", ())
    return Group([tree], [Pair(NEUTRAL, 0, (0, tree.paths[0]), None, len(prompt), known)])


def _sequences(example: Mapping[str, Any]) -> list[list[int]]:
    return [example["prompt_ids"] + example[f"{side}_ids"] for side in ("chosen", "rejected")]


def _pairs(
    examples: Sequence[Mapping[str, Any]], places: Sequence[tuple[int, Indices]]
) -> list[Pair]:
    return [
        Pair(e["task"], twin, places[2 * i], places[2 * i + 1], len(e["prompt_ids"]))
        for i, (e, twin) in enumerate(zip(examples, twins_of(examples), strict=True))
    ]


def twins_of(examples: Sequence[Mapping[str, Any]]) -> list[int]:
    """For each pair the number of its twin, or its own where there is none."""
    twins = list(range(len(examples)))
    for one, other in couples(examples):
        twins[one], twins[other] = other, one
    return twins


def couples(examples: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """Numbers of each two twins, when the second one comes. Holds the answers of one until then.

    Twins are the watermark pairs of a row: the same answers, chosen and rejected swapped.
    """
    place: dict[tuple[Any, ...], int] = {}
    for number, example in enumerate(examples):
        if example["task"] != "watermark":
            continue
        chosen, rejected = tuple(example["chosen_ids"]), tuple(example["rejected_ids"])
        row = example.get("row_id")
        other = place.pop((row, rejected, chosen), None)
        if other is None:
            place[row, chosen, rejected] = number
        else:
            yield other, number
