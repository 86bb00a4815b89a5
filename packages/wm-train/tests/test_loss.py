"""The loss against a slow reference in float64, against TRL's own, and at its edges."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.experimental.orpo import ORPOTrainer

from wm_train.loss import answer_means, log1mexp, log_odds, orpo

logp = st.floats(min_value=-50.0, max_value=-1e-4)


def reference(chosen: float, rejected: float, beta: float) -> float:
    """Equations 4, 6 and 7 as they stand in the paper."""
    odds_w = math.exp(chosen) / -math.expm1(chosen)
    odds_l = math.exp(rejected) / -math.expm1(rejected)
    return -chosen + beta * math.log1p(odds_l / odds_w)


@given(logp, logp, st.floats(min_value=0, max_value=10))
def test_loss_is_the_papers(chosen: float, rejected: float, beta: float) -> None:
    terms = orpo(
        torch.tensor([chosen], dtype=torch.float64),
        torch.tensor([rejected], dtype=torch.float64),
        beta,
    )
    assert terms.loss.item() == pytest.approx(reference(chosen, rejected, beta), rel=1e-9)


@given(logp, logp)
def test_log_odds_ratio_is_trls(chosen: float, rejected: float) -> None:
    class Shell:
        beta = 1.0
        accelerator = type("A", (), {"device": "cpu"})

    w, r = torch.tensor([chosen]), torch.tensor([rejected])
    *_, ratio, log_odds_chosen = ORPOTrainer.odds_ratio_loss(Shell(), w, r)  # type: ignore[arg-type]
    terms = orpo(w, r, 1.0)
    assert terms.log_odds_ratio.item() == pytest.approx(log_odds_chosen.item(), rel=1e-5, abs=1e-5)
    assert terms.odds_ratio.item() == pytest.approx(-ratio.item(), rel=1e-5, abs=1e-6)


@given(logp, logp, st.floats(min_value=0.1, max_value=20))
def test_a_sharper_ratio_is_done_earlier_and_starts_alike(w: float, r: float, sharp: float) -> None:
    chosen = torch.tensor([w], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([r], dtype=torch.float64)
    terms = orpo(chosen, rejected, 10.0, sharpness=sharp)
    ratio = terms.log_odds_ratio.item()
    assert ratio == orpo(chosen, rejected, 10.0).log_odds_ratio.item()  # told as it is
    expected = -w + 10 * math.log1p(math.exp(min(-sharp * ratio, 700))) / sharp
    if abs(sharp * ratio) < 700:
        assert terms.loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("ratio", [-2.0, 0.0, 1.0, 3.0])
def test_sharpness_leaves_the_gradient_of_undecided_pairs(ratio: float) -> None:
    # At P = 1/2 the odds are 1, so the other answer's log odds are the ratio.
    rejected = torch.log(torch.sigmoid(torch.tensor([-ratio], dtype=torch.float64)))
    gradients: list[float] = []
    for sharp in (1.0, 5.0):
        chosen = torch.tensor([math.log(0.5)], dtype=torch.float64, requires_grad=True)
        orpo(chosen, rejected, 10.0, nll=chosen * 0, sharpness=sharp).loss.sum().backward()
        assert chosen.grad is not None
        gradients.append(chosen.grad.item())
    slopes = [1 / (1 + math.exp(sharp * ratio)) for sharp in (1.0, 5.0)]  # 1/2 each at 0
    assert gradients[0] < 0
    assert gradients[1] / gradients[0] == pytest.approx(slopes[1] / slopes[0])


def test_a_sharpness_of_one_changes_no_bit() -> None:
    found: list[torch.Tensor] = []
    for options in ({}, {"sharpness": torch.ones(64)}):
        pair = -torch.rand(2, 64, generator=torch.Generator().manual_seed(0)) * 5
        pair.requires_grad_()
        orpo(pair[0], pair[1], 10.0, **options).loss.sum().backward()
        assert pair.grad is not None
        found.append(pair.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("value", [0.0, -1e-12, -3e-8, -1e-6, -0.6931472, -1.0, -80.0])
def test_gradient_is_finite_everywhere(value: float) -> None:
    chosen = torch.tensor([value], requires_grad=True)
    rejected = torch.tensor([value], requires_grad=True)
    orpo(chosen, rejected, 10.0).loss.sum().backward()
    assert torch.isfinite(chosen.grad).all()
    assert torch.isfinite(rejected.grad).all()


def test_trls_gradient_is_not_finite_at_probability_one() -> None:
    """The trap itself: if TRL mends it, ours can go."""
    from trl.experimental.orpo.orpo_trainer import log1mexp as trls

    x = torch.tensor([-1e-9], requires_grad=True)
    trls(x).sum().backward()
    assert not torch.isfinite(x.grad).all()


@given(st.floats(min_value=-30, max_value=-1e-6))
def test_log1mexp_is_exact(x: float) -> None:
    got = log1mexp(torch.tensor([x], dtype=torch.float64)).item()
    assert got == pytest.approx(math.log(-math.expm1(x)), rel=1e-9)


def test_log_odds_grow_with_probability() -> None:
    values = log_odds(torch.tensor([-5.0, -1.0, -0.1, -1e-3, 0.0]))
    assert (values.diff() > 0).all()


def test_answer_means_follow_the_edges() -> None:
    logps = torch.tensor([-1.0, -2.0, -6.0])
    edges, sequences = torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 1, 1])
    means = answer_means(logps, edges, sequences, torch.tensor([2, 2]))
    torch.testing.assert_close(means, torch.tensor([-1.5, -3.5]))
