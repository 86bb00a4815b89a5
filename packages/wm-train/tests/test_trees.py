"""Trees of token ids: nothing is lost, nothing stands twice, the mask is who descends from whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wm_train.attention import tree_mask
from wm_train.trees import common_prefix, families, grow

sequence = st.lists(st.integers(0, 2), min_size=1, max_size=8)  # few ids: many equal beginnings
sequences = st.lists(sequence, min_size=1, max_size=8)


@given(sequences)
def test_every_sequence_is_a_path(given: list[list[int]]) -> None:
    tree = grow(given)
    for ids, path in zip(given, tree.paths, strict=True):
        assert tree.ids[path].tolist() == ids
        assert tree.depths[path].tolist() == list(range(len(ids)))
        assert tree.parents[path].tolist() == [-1, *path[:-1]]


@given(sequences)
def test_every_beginning_stands_once(given: list[list[int]]) -> None:
    beginnings = {tuple(ids[:n]) for ids in given for n in range(1, len(ids) + 1)}
    assert len(grow(given)) == len(beginnings)


@given(sequences)
def test_the_mask_shows_a_token_its_own_past_alone(given: list[list[int]]) -> None:
    tree = grow(given)
    expected = torch.zeros(len(tree), len(tree), dtype=torch.bool)
    for path in tree.paths:
        for depth, token in enumerate(path):
            expected[token, path[: depth + 1]] = True
    assert torch.equal(tree_mask(torch.from_numpy(tree.ends)[None])[0, 0], expected)


@given(sequence, sequence)
def test_common_prefix_is_the_longest(a: list[int], b: list[int]) -> None:
    length = common_prefix(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([[1, 2, 3, 4], [1, 2, 3, 5]], [{0, 1}]),  # the two orders of a question
        ([[1, 2, 3, 4], [9, 2, 3, 4], [1, 2, 3, 5]], [{0, 2}, {1}]),
        ([[1, 2, 3, 4], [1, 7, 8, 9]], [{0}, {1}]),  # a shared first word is not worth a tree
        ([[1, 2], [1, 2, 3, 4, 5, 6]], [{0, 1}]),
        ([[1, 2], [1, 2]], [{0, 1}]),
    ],
)
def test_prompts_that_agree_in_half_are_a_family(
    prompts: list[list[int]], expected: list[set[int]]
) -> None:
    assert sorted(map(sorted, families(prompts))) == sorted(map(sorted, expected))
