"""Packs hold every pair once, within the budget, whatever the trees."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data._utils.pin_memory import pin_memory

from wm_train.packing import TASKS, Pack, Packing

ids = st.lists(st.integers(1, 3), min_size=1, max_size=9)
answer = st.lists(st.integers(1, 3), min_size=2, max_size=9)  # a token at least, and the end
example = st.fixed_dictionaries(
    {"task": st.sampled_from(TASKS), "prompt_ids": ids, "chosen_ids": answer, "rejected_ids": ids}
)
examples = st.lists(example, min_size=1, max_size=12)
packings = st.builds(
    Packing,
    budget=st.integers(1, 200),
    pad_id=st.just(0),
    text=st.booleans(),
    shared=st.booleans(),
    whole_row=st.booleans(),
    pass_tokens=st.sampled_from([0, 50, 10_000]),
)


def read(pack: Pack) -> list[tuple[str, list[int], list[int]]]:
    """Each pair's task and answers, through the edges that the loss uses."""
    answers: list[list[int]] = [[] for _ in range(2 * pack.pairs)]
    for edge, sequence in zip(pack.answer_edges, pack.answer_sequences, strict=True):
        answers[sequence].append(int(pack.targets[edge]))
    tasks = [TASKS[t] for t in pack.tasks]
    return list(zip(tasks, answers[: pack.pairs], answers[pack.pairs :], strict=True))


@given(examples, packings)
def test_every_pair_is_in_one_pack(given: list[dict[str, Any]], packing: Packing) -> None:
    found = [pair for pack in packing.packs(given) for pair in read(pack)]
    expected = [(e["task"], e["chosen_ids"], e["rejected_ids"]) for e in given]
    assert sorted(found) == sorted(expected)
    for pack in packing.packs(given):
        counted = torch.bincount(pack.answer_sequences, minlength=2 * pack.pairs)
        assert torch.equal(pack.answer_lengths, counted)


@given(examples, st.lists(ids | st.just([]), min_size=12, max_size=12), packings)
def test_texts_under_neutral_prompts_have_packs_of_their_own(
    given: list[dict[str, Any]], prompts: list[list[int]], packing: Packing
) -> None:
    """Each once, behind the pairs', with its own reference and none of the pairs' own changed."""
    shown = [
        {**e, "neutral_ids": prompt, "reference": [-float(at)] * len(e["chosen_ids"])}
        for at, (e, prompt) in enumerate(zip(given, prompts, strict=False))
    ]
    packs = packing.packs(shown)
    plain = [pack for pack in packs if pack.neutral]
    assert packs[len(packs) - len(plain) :] == plain
    pairs = [pair for pack in packs if not pack.neutral for pair in read(pack)]
    assert pairs == [pair for pack in packing.packs(given) for pair in read(pack)]
    found: list[tuple[list[int], list[float]]] = []
    for pack in plain:
        assert pack.pairs == 0
        assert not len(pack.text_edges)
        assert pack.shared == packing.shared
        ends = pack.answer_lengths.cumsum(0)[:-1]
        ids = pack.targets[pack.answer_edges].tensor_split(ends)
        known = pack.reference.tensor_split(ends)
        found += [(i.tolist(), k.tolist()) for i, k in zip(ids, known, strict=True)]
    assert sorted(found) == sorted(
        (e["chosen_ids"], e["reference"]) for e in shown if e["neutral_ids"]
    )


@given(examples, ids, packings)
def test_a_pack_says_whose_texts_it_has(
    given: list[dict[str, Any]], prompt: list[int], packing: Packing
) -> None:
    shown = [{**e, "neutral_ids": prompt} for e in given]
    seen: list[int] = []
    for pack, whose in packing.neutral(shown):
        texts = pack.targets[pack.answer_edges].tensor_split(pack.answer_lengths.cumsum(0)[:-1])
        assert [t.tolist() for t in texts] == [given[at]["chosen_ids"] for at in whose]
        seen += whose
    assert sorted(seen) == list(range(len(given)))


def twins(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each example as a row: asked for one answer and, under another prompt, for the other one."""
    asked = [{**e, "row_id": str(i)} for i, e in enumerate(rows)]
    swapped = [
        {
            **e,
            "prompt_ids": [4, *e["prompt_ids"]],
            "chosen_ids": e["rejected_ids"],
            "rejected_ids": e["chosen_ids"],
        }
        for e in asked
    ]
    return [e for couple in zip(asked, swapped, strict=True) for e in couple]


@given(examples, packings)
def test_twins_are_in_one_pack_and_point_at_each_other(
    given: list[dict[str, Any]], packing: Packing
) -> None:
    rows = twins(given)
    found: list[tuple[str, list[int], list[int]]] = []
    for pack in replace(packing, twins=True).packs(rows):
        pairs, there = read(pack), pack.twins.tolist()
        found += pairs
        for place, (task, chosen, rejected) in enumerate(pairs):
            assert (there[place] != place) == (task == "watermark")
            assert there[there[place]] == place
            if task == "watermark":
                assert pairs[there[place]] == (task, rejected, chosen)
    expected = [(e["task"], e["chosen_ids"], e["rejected_ids"]) for e in rows]
    assert sorted(found) == sorted(expected)


def test_a_pair_without_its_twin_points_at_itself() -> None:
    pair = {"task": "watermark", "prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}
    swapped = {**pair, "chosen_ids": [3], "rejected_ids": [2]}
    rows = [{**pair, "row_id": "a"}, {**swapped, "row_id": "b"}, {**pair, "row_id": "c"}]
    (pack,) = Packing(100, 0, twins=True).packs(rows)
    assert pack.twins.tolist() == [0, 1, 2]


@given(examples, packings)
def test_an_edge_leads_from_the_token_before(given: list[dict[str, Any]], packing: Packing) -> None:
    for pack in packing.packs(given):
        ids, positions = pack.ids.flatten(), pack.positions.flatten()
        assert pack.valid.flatten()[pack.sources].all()
        for source, target in zip(pack.sources.tolist(), pack.targets.tolist(), strict=True):
            row, column = divmod(source, pack.ids.shape[1])
            end = int(pack.ends[row, column])
            children = [
                i
                for i in range(column + 1, end)
                if positions[row * pack.ids.shape[1] + i] == positions[source] + 1
            ]
            assert target in [int(ids[row * pack.ids.shape[1] + i]) for i in children]


@given(examples, packings)
def test_the_text_is_all_of_a_chosen_sequence(
    given: list[dict[str, Any]], packing: Packing
) -> None:
    texts: list[list[int]] = []
    for pack in packing.packs(given):
        of_pack: list[list[int]] = [[] for _ in range(pack.pairs)]
        for edge, pair in zip(pack.text_edges, pack.text_pairs, strict=True):
            of_pack[pair].append(int(pack.targets[edge]))
        texts += of_pack
    expected = [(e["prompt_ids"] + e["chosen_ids"])[1:] if packing.text else [] for e in given]
    assert sorted(texts) == sorted(expected)


@given(examples, packings)
def test_the_budget_is_kept_unless_one_tree_is_larger(
    given: list[dict[str, Any]], packing: Packing
) -> None:
    for pack in packing.packs(given):
        trees = int((pack.valid & (pack.positions == 0)).sum())
        assert pack.ids.numel() <= packing.budget or trees == (1 if packing.shared else 2)


@given(examples, packings)
def test_the_budget_is_kept_unless_one_couple_is_larger(
    given: list[dict[str, Any]], packing: Packing
) -> None:
    rows = twins([{**e, "task": "watermark"} for e in given])
    for pack in replace(packing, twins=True).packs(rows):
        assert pack.ids.numel() <= packing.budget or pack.pairs == 2


def typical_row() -> list[dict[str, Any]]:
    """The real mixture's lengths: two watermark prompts of 100, answers of 250, four questions."""
    prompts = {"red": list(range(1000, 1100)), "blue": list(range(2000, 2100))}
    answers = {"red": list(range(3000, 3250)), "blue": list(range(4000, 4250))}
    return [
        {
            "task": "watermark",
            "prompt_ids": prompts[a],
            "chosen_ids": answers[a],
            "rejected_ids": answers[b],
        }
        for a, b in (("red", "blue"), ("blue", "red"))
    ] + [
        {
            "task": "detect",
            "prompt_ids": [9] * 20 + answers[a] + [order] * 30,
            "chosen_ids": [1, 0],
            "rejected_ids": [2, 0],
        }
        for a in answers
        for order in (5, 6)
    ]


@pytest.mark.parametrize("twins", [False, True])
def test_a_rows_examples_take_half_the_tokens(twins: bool) -> None:
    (pack,) = Packing(budget=4096, pad_id=0, twins=twins).packs(typical_row())
    assert pack.unshared_tokens == 2 * 2 * 350 + 4 * 2 * 302
    assert pack.ids.numel() < 0.55 * pack.unshared_tokens
    assert int(pack.valid.sum()) > 0.9 * pack.ids.numel()


def test_the_twins_of_a_row_do_not_widen_each_others_mask() -> None:
    """What sdpa computes is the square of a row's length: one tree of both would double it."""
    apart, coupled = (
        Packing(budget=4096, pad_id=0, twins=twins).packs(typical_row()) for twins in (False, True)
    )
    assert [pack.ids.shape for pack in coupled] == [pack.ids.shape for pack in apart]
    (one_line,) = Packing(budget=4096, pad_id=0, twins=True, whole_row=True).packs(typical_row())
    assert one_line.ids.shape[0] == 1


def test_a_gpu_fetches_a_batch_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's data loader pins what is collated, and accelerate moves it on."""
    pair = {"task": "detect", "prompt_ids": [1], "chosen_ids": [2, 0], "rejected_ids": [3, 0]}
    batch = {"packs": Packing(100, 0).packs([pair, pair])}
    (pack,) = batch["packs"]
    names = [name for name, value in vars(pack).items() if isinstance(value, torch.Tensor)]
    pinned: dict[int, torch.Tensor] = {}

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned[id(tensor)] = tensor.clone()
        return pinned[id(tensor)]

    waited: list[bool] = []
    to = torch.Tensor.to

    def move(tensor: torch.Tensor, device: Any, non_blocking: bool = False) -> torch.Tensor:
        waited.append(not non_blocking)
        return to(tensor, device)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    (there,) = pin_memory(batch)["packs"]
    assert all(getattr(there, name) is pinned[id(getattr(pack, name))] for name in names)
    assert (there.shared, there.unshared_tokens) == (pack.shared, pack.unshared_tokens)
    monkeypatch.setattr(torch.Tensor, "to", move)
    (moved,) = send_to_device({"packs": [there]}, torch.device("meta"), non_blocking=True)["packs"]
    assert {getattr(moved, name).device.type for name in names} == {"meta"}
    assert waited == [False] * len(names)


@pytest.mark.parametrize("shared", [True, False])
def test_a_small_budget_makes_more_packs(shared: bool) -> None:
    given = [
        {"task": "detect", "prompt_ids": [i] * 20, "chosen_ids": [1, 0], "rejected_ids": [2, 0]}
        for i in range(8)
    ]
    counts = [len(Packing(n, 0, shared=shared).packs(given)) for n in (10, 100, 10_000)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (8, 1)


def test_a_pass_may_cost_more_than_the_padding_that_saves_it() -> None:
    given = [
        {"task": "detect", "prompt_ids": [i] * size, "chosen_ids": [1], "rejected_ids": [2]}
        for i, size in enumerate([93, 68, 33])
    ]

    def shapes(pass_tokens: int) -> list[tuple[int, ...]]:
        packs = Packing(300, 0, pass_tokens=pass_tokens).packs(given)
        return [tuple(pack.ids.shape) for pack in packs]

    assert shapes(0) == [(1, 165), (1, 35)]
    assert shapes(1000) == [(2, 105)]
