"""The order of examples: whole rows, seeded, another each epoch."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wm_train.sampler import TwinSampler

rows = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60)


@given(rows, st.integers(0, 2**31), st.booleans())
def test_every_example_comes_once(row_ids: list[str], seed: int, twins: bool) -> None:
    sampler = TwinSampler(row_ids, seed, twins)
    assert sorted(sampler) == list(range(len(row_ids)))
    assert len(sampler) == len(row_ids)


@given(rows, st.integers(0, 2**31))
def test_twins_stand_together(row_ids: list[str], seed: int) -> None:
    seen = [row_ids[i] for i in TwinSampler(row_ids, seed)]
    runs = [row for i, row in enumerate(seen) if i == 0 or seen[i - 1] != row]
    assert max(Counter(runs).values()) == 1


def test_order_depends_on_seed_and_epoch_alone() -> None:
    row_ids = [f"row{i // 6}" for i in range(120)]
    first, same, other = (TwinSampler(row_ids, seed) for seed in (0, 0, 1))
    assert list(first) == list(same) != list(other)
    same.set_epoch(1)
    assert list(first) != list(same)


def test_without_twins_rows_are_scattered() -> None:
    row_ids = [f"row{i // 6}" for i in range(120)]
    seen = [row_ids[i] for i in TwinSampler(row_ids, 0, twins=False)]
    neighbours = sum(a == b for a, b in pairwise(seen))
    assert neighbours < 20  # 100 when rows stay whole, about 5 by chance
