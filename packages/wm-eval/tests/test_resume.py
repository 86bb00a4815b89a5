"""A killed evaluation goes on where it was and ends in the same report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wm_eval import evaluate
from wm_eval.hf import HFGenerator
from wm_eval.partial import NAME, Partial, stamp
from wm_manifest import EvalReport

TIMES = {"started_at", "seconds"}


class Killed(BaseException):
    """Stands for a signal: nothing in the evaluation catches it."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let so many batches pass, then kill; returns how many batches were asked."""
    real = HFGenerator._answer

    def arm(batches: int | None) -> list[int]:
        asked = [0]

        def answer(self: Any, *args: Any) -> Any:
            if batches is not None and asked[0] == batches:
                raise Killed
            asked[0] += 1
            return real(self, *args)

        monkeypatch.setattr(HFGenerator, "_answer", answer)
        return asked

    return arm


def run(model: Any, tokenizer: Any, data: Path, out: Path, **kwargs: Any) -> EvalReport:
    options = {"max_new_tokens": 6, "batch_size": 4, "limit": 8, "progress": False}
    return evaluate(model, tokenizer, data, out=out, **{"weights": ["these"], **options, **kwargs})


@pytest.mark.parametrize("batches", [0, 1, 3, 6, 9])
def test_killed_at_any_point_it_ends_in_the_same_report(
    batches: int, model: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path, killed_after: Any
) -> None:
    total = killed_after(None)
    whole = run(model, tokenizer, dataset_dir, tmp_path / "whole")
    assert total[0] == 10
    killed_after(batches)
    with pytest.raises(Killed):
        run(model, tokenizer, dataset_dir, tmp_path / "e")
    assert not (tmp_path / "e" / "eval.json").exists()
    with (tmp_path / "e" / NAME).open("a") as file:
        file.write('{"id": "half a li')  # what a kill in the middle of writing leaves
    rest = killed_after(None)
    again = run(model, tokenizer, dataset_dir, tmp_path / "e")
    assert rest[0] == 10 - batches, "finished batches were asked again"
    assert again.model_dump(exclude=TIMES) == whole.model_dump(exclude=TIMES)
    samples = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("whole", "e")]
    assert samples[0] == samples[1]
    assert not (tmp_path / "e" / NAME).exists()


@pytest.mark.parametrize("change", [{"seed": 1}, {"temperature": 0.5}, {"weights": ["others"]}])
def test_another_question_starts_over(
    change: dict[str, Any],
    model: Any,
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    killed_after: Any,
) -> None:
    killed_after(5)
    with pytest.raises(Killed):
        run(model, tokenizer, dataset_dir, tmp_path)
    asked = killed_after(None)
    run(model, tokenizer, dataset_dir, tmp_path, **change)
    assert asked[0] == 10


def test_other_weights_in_the_same_folder_have_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = stamp(str(tmp_path), None)
    assert stamp(str(tmp_path), None) == before
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert stamp(str(tmp_path), None) != before


def test_a_file_of_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\xfe nothing of ours")
    assert Partial(tmp_path, ["x"]).answers == {}
