"""Draws have the right distribution and depend on their own row alone."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from wm_eval.sampling import NO_TOKEN, draw, uniforms

ROWS = 40_000


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(1.0, 1.0, 0), (0.7, 0.8, 20), (0.7, 1.0, 5), (1.5, 0.9, 0), (1.0, 0.5, 3)],
)
def test_draws_follow_the_distribution_of_transformers_warpers(
    temperature: float, top_p: float, top_k: int
) -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(1)) * 2
    warped = TemperatureLogitsWarper(temperature)(None, logits)
    warped = TopKLogitsWarper(top_k)(None, warped) if top_k else warped
    warped = TopPLogitsWarper(top_p)(None, warped) if top_p < 1 else warped
    expected = warped.softmax(-1)[0].double()

    u = torch.rand(ROWS, generator=torch.Generator().manual_seed(2))
    drawn = draw(logits.expand(ROWS, -1), u, temperature, top_p, top_k)
    counts = torch.bincount(drawn, minlength=30).double()

    assert not counts[expected == 0].any(), "a token outside top-k or top-p was drawn"
    kept = expected > 0
    if kept.sum() > 1:
        p = chisquare(counts[kept], expected[kept] / expected[kept].sum() * ROWS).pvalue
        assert p > 1e-4


def test_temperature_zero_is_greedy() -> None:
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(draw(logits, torch.rand(5), 0.0, 0.8, 20), logits.argmax(-1))


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_stay_inside_the_kept_tokens(u: float) -> None:
    logits = torch.tensor([[5.0, 4.0, -50.0, -60.0]])
    assert draw(logits, torch.tensor([u]), 1.0, 0.9, 0).item() in (0, 1)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize(("top_p", "top_k"), [(0.8, 20), (1.0, 0), (0.8, 2)])
@pytest.mark.parametrize(
    "row",
    [[torch.nan] * 4, [1.0, torch.nan, 0.0, 0.0], [-torch.inf] * 4, [0.0, torch.inf, 0.0, 0.0]],
    ids=["all NaN", "one NaN", "all -inf", "one +inf"],
)
def test_a_row_that_is_no_distribution_gives_no_token_and_spoils_no_other(
    row: list[float], temperature: float, top_p: float, top_k: int
) -> None:
    good = [0.0, -torch.inf, 50.0, 0.0]  # -inf beside finite logits is an ordinary mask
    drawn = draw(torch.tensor([row, good]), torch.tensor([0.5, 0.5]), temperature, top_p, top_k)
    assert drawn.tolist() == [NO_TOKEN, 2]


def test_a_rows_numbers_are_its_own() -> None:
    together = uniforms([7, 8, 9], 6)
    assert torch.equal(uniforms([8], 6)[0], together[1])
    assert torch.equal(uniforms([8], 60)[0, :6], together[1]), "a longer draw has another start"
    assert not torch.equal(together[0], together[1])


def test_the_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    draw(torch.randn(3, 9, generator=torch.Generator()), uniforms([1, 2, 3], 1)[:, 0], 1, 1, 0)
    assert torch.equal(torch.get_rng_state(), before)
