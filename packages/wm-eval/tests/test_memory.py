"""Memory that runs out in the middle of an evaluation costs its batch alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_eval import items
from wm_eval.asking import request
from wm_eval.decode import Decoder
from wm_eval.forward import Forward
from wm_eval.generator import Continuation
from wm_eval.hf import HFGenerator
from wm_manifest import Decoding


class Card:
    """Memory for `largest` rows; more run it out from the `first` forward pass on."""

    def __init__(self, largest: int, first: int) -> None:
        self.largest, self.first, self.passes, self.failures = largest, first, 0, 0

    def put_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Forward.__call__

        def forward(own: Any, ids: Any, *args: Any, **kwargs: Any) -> Any:
            self.passes += 1
            if self.passes >= self.first and len(ids) > self.largest:
                self.failures += 1
                raise torch.OutOfMemoryError("no memory")
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
