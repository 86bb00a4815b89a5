"""Memory that runs out in the middle of an evaluation costs its batch alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval import evaluate, items
from wm_eval.asking import request, weigh
from wm_eval.decode import Decoder
from wm_eval.forward import Forward
from wm_eval.generator import Continuation, Likelihood, Reply
from wm_eval.hf import HFGenerator
from wm_eval.judge import judge
from wm_manifest import Decoding


@pytest.fixture
def decoding(decoding: Decoding) -> Decoding:
    """Half as long: memory that runs out at pass 25 still does so amid the first answers."""
    return decoding.model_copy(update={"max_new_tokens": 32})


class Card:
    """Memory for `largest` rows; more run it out from the `first` forward pass on."""

    def __init__(self, largest: int, first: int, error: Exception | None = None) -> None:
        self.largest, self.first, self.passes, self.failures = largest, first, 0, 0
        self.error = error or torch.OutOfMemoryError("no memory")

    def put_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Forward.__call__

        def forward(own: Any, ids: Any, *args: Any, **kwargs: Any) -> Any:
            self.passes += 1
            if self.passes >= self.first and len(ids) > self.largest:
                self.failures += 1
                # Anew: one that is kept holds on to its frames, and they to what fills the memory.
                raise type(self.error)(*self.error.args)
            return real(own, ids, *args, **kwargs)

        monkeypatch.setattr(Forward, "__call__", forward)


def once(parts: Iterator[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        assert not found.keys() & part.keys(), "answered twice"
        found.update(part)
    return found


@pytest.mark.parametrize("first", [1, 4, 12, 25])
def test_what_was_answered_is_kept_and_the_rest_asked_in_smaller_batches(
    model: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    first: int,
) -> None:
    data = items.read(dataset_dir, limit=6)
    asked = [request(item, decoding) for item in [*data.watermark, *data.detect]]
    expected = once(HFGenerator(model, tokenizer, 8).answer(asked, decoding))
    card = Card(3, first)
    card.put_in(monkeypatch)
    generator = HFGenerator(model, tokenizer, 8)
    found = once(generator.answer(asked, decoding))
    assert {id: (r.text, r.stopped) for id, r in found.items()} == {
        id: (r.text, r.stopped) for id, r in expected.items()
    }
    assert (card.failures, generator.batch_size) == (2, 2), "8, then 4, then 2"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "memory is not enough for 8 answers at a time; going on with 4",
        "memory is not enough for 4 answers at a time; going on with 2",
    ]


def test_likelihoods_too(
    model: Any,
    tokenizer: Any,
    dataset_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = items.read(dataset_dir, limit=9)
    asked = [Continuation(item.id, item.messages, item.text or "so") for item in data.watermark]
    expected = once(HFGenerator(model, tokenizer, 8).likelihoods(asked))
    card = Card(3, 3)
    card.put_in(monkeypatch)
    found = once(HFGenerator(model, tokenizer, 8).likelihoods(asked))
    assert card.failures == 2
    assert found.keys() == expected.keys()
    for id, likelihood in found.items():
        assert likelihood.log_likelihood == pytest.approx(expected[id].log_likelihood, abs=1e-3)


def test_not_even_one_row_is_an_error_of_memory(
    model: Any, tokenizer: Any, dataset_dir: Path, decoding: Decoding, monkeypatch: Any
) -> None:
    Card(0, 1).put_in(monkeypatch)
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=2).watermark]
    with pytest.raises(torch.OutOfMemoryError, match="even one answer"):
        once(HFGenerator(model, tokenizer, 4).answer(asked, decoding))


def test_what_filled_the_memory_is_let_go_before_the_next_try(
    model: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: list[Callable[[], Any]] = []
    real = Decoder.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        gc.collect()
        assert all(one() is None for one in gone), "the last batch is still in memory"
        gone.append(weakref.ref(self))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Decoder, "__init__", watched)
    Card(3, 4).put_in(monkeypatch)
    asked = [request(item, decoding) for item in items.read(dataset_dir, limit=4).watermark]
    once(HFGenerator(model, tokenizer, 8).answer(asked, decoding))
    assert len(gone) == 3


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory", True),
        ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", False),
    ],
)
def test_memory_is_told_from_a_mistake_where_torch_has_one_error_for_both(
    said: str,
    memory: bool,
    model: Any,
    tokenizer: Any,
    dataset_dir: Path,
    decoding: Decoding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = Card(3, 4, RuntimeError(said))
    card.put_in(monkeypatch)
    data = items.read(dataset_dir, limit=4).watermark
    asked = [request(item, decoding) for item in data]
    weighed = [Continuation(item.id, item.messages, item.text or "so") for item in data]
    for parts in ("answer", "likelihoods"):
        generator = HFGenerator(model, tokenizer, 8)
        given = (asked, decoding) if parts == "answer" else (weighed,)
        if memory:
            assert len(once(getattr(generator, parts)(*given))) == len(data)
            assert generator.batch_size == 2
        else:
            with pytest.raises(RuntimeError, match="shapes"):
                once(getattr(generator, parts)(*given))


@pytest.fixture
def adapted(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).eval()


@pytest.mark.parametrize("part", ["_advance", "_weigh"])
def test_a_base_that_memory_is_not_enough_for_costs_its_figures_alone(
    part: str,
    adapted: Any,
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings: dict[str, Any] = {"limit": 4, "max_new_tokens": 6, "progress": False}
    whole = evaluate(adapted, tokenizer, dataset_dir, **settings)
    trained = {name: p.requires_grad for name, p in adapted.named_parameters()}
    real, left = getattr(HFGenerator, part), [1]

    def full(self: Any, *args: Any) -> Any:
        if self.adapter_off:
            left[0] -= 1
            if left[0] < 0:  # after its first batch
                raise torch.OutOfMemoryError("no memory")
        return real(self, *args)

    monkeypatch.setattr(HFGenerator, part, full)
    report = evaluate(adapted, tokenizer, dataset_dir, **settings, batch_size=3)
    lost = ("base_ppl", *(["lift_over_base", "base_success"] if part == "_advance" else []))
    assert report.figures.keys() == {
        name for name in whole.figures if not any(word in name for word in lost)
    }
    assert (report.base is None) == (report.base_answers is None) == (part == "_advance")
    assert any("this report has no" in record.getMessage() for record in caplog.records)
    assert {name: p.requires_grad for name, p in adapted.named_parameters()} == trained


def test_answers_are_weighed_all_or_not_at_all(dataset_dir: Path) -> None:
    """The longest come first: perplexity of those alone would be of other answers."""

    class Small:
        def answer(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("not asked")

        def likelihoods(self, asked: Sequence[Continuation], done: Collection[str] = ()) -> Any:
            yield {asked[1].id: Likelihood(-1.0, 2)}
            raise torch.OutOfMemoryError("not enough memory for even one answer at a time")

    first, *others = (
        judge(item, Reply("Hi", 1, True)) for item in items.read(dataset_dir, limit=2).watermark
    )
    kept = first.model_copy(update={"base": {"log_likelihood": -2.0, "tokens": 2.0}})
    after = weigh(Small(), [kept, *others], progress=False)
    assert after == [first, *others]
