"""A killed evaluation goes on where it was and ends in the same report."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from wm_eval import batching, evaluate
from wm_eval.hf import HFGenerator
from wm_eval.partial import NAME, Partial, stamp
from wm_manifest import EvalReport

TIMES = {"started_at", "seconds"}


class Killed(BaseException):
    """Stands for a signal: nothing in the evaluation catches it."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the generator decode so many times, then kill; returns the pool of each time."""
    monkeypatch.setattr(batching, "POOL", 8)
    real = HFGenerator._advance

    def arm(times: int | None) -> list[int]:
        pools: list[Any] = []
        asked: list[int] = []

        def advance(self: Any, waiting: Any, *args: Any) -> Any:
            if times is not None and len(asked) == times:
                raise Killed
            if not any(waiting is pool for pool in pools):
                pools.append(waiting)
            asked.append(len(pools) - 1)
            return real(self, waiting, *args)

        monkeypatch.setattr(HFGenerator, "_advance", advance)
        return asked

    return arm


def run(model: Any, tokenizer: Any, data: Path, out: Path, **kwargs: Any) -> EvalReport:
    options = {"max_new_tokens": 6, "batch_size": 2, "limit": 8, "progress": False}
    return evaluate(model, tokenizer, data, out=out, **{"weights": ["these"], **options, **kwargs})


@pytest.mark.parametrize("times", [0, 1, 4, 7, 15])
def test_killed_at_any_point_it_ends_in_the_same_report(
    times: int, model: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path, killed_after: Any
) -> None:
    pools = killed_after(None)
    whole = run(model, tokenizer, dataset_dir, tmp_path / "whole")
    assert set(pools) == set(range(5)), "24 prompts and 16 readings, eight at a time"
    assert len(pools) > 15
    killed_after(times)
    with pytest.raises(Killed):
        run(model, tokenizer, dataset_dir, tmp_path / "e")
    assert not (tmp_path / "e" / "eval.json").exists()
    with (tmp_path / "e" / NAME).open("a") as file:
        file.write('{"id": "half a li')  # what a kill in the middle of writing leaves
    rest = killed_after(None)
    again = run(model, tokenizer, dataset_dir, tmp_path / "e")
    unfinished = [pool for pool in pools if pool >= pools[times]]
    assert len(rest) == len(unfinished), "finished pools were asked again"
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
    pools = killed_after(None)
    run(model, tokenizer, dataset_dir, tmp_path, **change)
    assert set(pools) == set(range(5))


def test_other_weights_in_the_same_folder_have_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = stamp(str(tmp_path), None)
    assert stamp(str(tmp_path), None) == before
    (tmp_path / "model.safetensors").write_bytes(b"other")
    other = stamp(str(tmp_path), None)
    assert other != before
    (tmp_path / "pytorch_model.bin").write_bytes(b"one")
    assert stamp(str(tmp_path), None) != other


def test_a_file_of_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\xfe nothing of ours")
    assert Partial(tmp_path, {"asked": "x"}).answers == {}


def test_it_can_be_left_between_two_batches(
    model: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path, killed_after: Any
) -> None:
    killed_after(None)
    whole = run(model, tokenizer, dataset_dir, tmp_path / "whole")
    batches: list[int] = []

    def leave() -> None:
        batches.append(len((tmp_path / "e" / NAME).read_text("utf-8").splitlines()))
        if len(batches) == 3:
            raise Killed

    with pytest.raises(Killed):
        run(model, tokenizer, dataset_dir, tmp_path / "e", between=leave)
    assert 1 < batches[0] < batches[1] < batches[2], "it is called when the answers are kept"
    again = run(model, tokenizer, dataset_dir, tmp_path / "e")
    assert again.model_dump(exclude=TIMES) == whole.model_dump(exclude=TIMES)


def test_what_is_kept_stays_where_it_cannot_be_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Partial(tmp_path, {"asked": "x"})
    before = (tmp_path / NAME).read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Partial(tmp_path, {"asked": "x"})
    assert [p.name for p in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == before
