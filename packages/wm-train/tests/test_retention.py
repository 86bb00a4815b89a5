"""Checkpoints within their budget at every moment; a full disk loses nothing that was there."""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ByteSize, TypeAdapter
from transformers import Qwen3Config, Qwen3ForCausalLM, Trainer, TrainingArguments

from wm_train import checkpoints
from wm_train.checkpoints import SLACK, VerifiedCheckpoints, found, newest_whole, step_of, total
from wm_train.errors import CheckpointError
from wm_train.retention import Retention, human


class Words:
    """A tokenizer, as far as a checkpoint is concerned."""

    def save_pretrained(self, folder: str) -> None:
        (Path(folder) / "tokenizer.json").write_text("{}" * 500)


class Small(VerifiedCheckpoints, Trainer):
    def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return model(**inputs).logits.float().pow(2).mean()


def trainer(folder: Path, steps: int, retention: Retention | None, logging_steps: int = 1) -> Small:
    config = Qwen3Config(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, head_dim=4,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    torch.manual_seed(0)
    made = Small(
        model=Qwen3ForCausalLM(config),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            save_steps=1,
            logging_steps=logging_steps,
            use_cpu=True,
            per_device_train_batch_size=1,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=[{"input_ids": torch.tensor([i % 8, 3])} for i in range(16)],
        processing_class=Words(),  # type: ignore[arg-type]
    )
    made.retention = retention
    return made


@pytest.fixture(scope="module")
def size(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes of a first checkpoint."""
    folder = tmp_path_factory.mktemp("one")
    trainer(folder, 1, None).train()
    return total(folder / "checkpoint-1")


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes under the checkpoints' folder each time that one is complete in its staging place."""
    seen: list[int] = []
    real = checkpoints.put

    def put(staged: Path, root: Path) -> Path:
        seen.append(total(root))
        return real(staged, root)

    monkeypatch.setattr(checkpoints, "put", put)
    return seen


def test_a_hundred_saves_stay_within_the_budget(
    tmp_path: Path, size: int, peaks: list[int]
) -> None:
    budget = 6 * size  # the log in a checkpoint grows: it holds fewer and fewer of them
    t = trainer(tmp_path, 100, None, logging_steps=5)
    t.retention = Retention(
        keep=10,
        max_bytes=budget,
        best=lambda: 7 if t.state.global_step >= 7 else None,
        has_best=True,
    )
    t.train()
    assert len(peaks) == 100
    assert max(peaks) <= budget
    assert max(peaks) > 0.7 * budget  # it is used, too
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-100", {})
    steps = [step_of(folder) for folder in found(tmp_path)]
    assert 7 in steps
    assert len(steps) >= 3


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    t = trainer(tmp_path, 6, Retention(keep=2, best=lambda: 3))
    t.train()
    assert [step_of(folder) for folder in found(tmp_path)] == [3, 5, 6]


@pytest.mark.parametrize(
    ("has_best", "share", "least"), [(False, 1.5, 2), (True, 2.5, 3), (False, 0.5, 2)]
)
def test_a_budget_that_is_too_little_says_what_to_give(
    tmp_path: Path, size: int, has_best: bool, share: float, least: int
) -> None:
    t = trainer(tmp_path, 3, Retention(max_bytes=int(share * size), has_best=has_best))
    with pytest.raises(CheckpointError) as refused:
        t.train()
    message = str(refused.value)
    assert f"checkpoint.max_bytes = {human(int(share * size))} is too little" in message
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-1", {})  # what was trained is kept
    named = re.search(r"give at least (\S+) and resume", message)
    assert named is not None
    enough = TypeAdapter(ByteSize).validate_python(named[1])
    assert enough < 1.2 * least * size + 3 * SLACK
    t = trainer(tmp_path, 3, Retention(max_bytes=enough, has_best=has_best))
    t.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert newest_whole(tmp_path)[0] == tmp_path / "checkpoint-3"


def full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


PLACES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "weights": lambda patch: patch.setattr(Qwen3ForCausalLM, "save_pretrained", full),
    "tokenizer": lambda patch: patch.setattr(Words, "save_pretrained", full),
    "optimizer": lambda patch: patch.setattr(torch, "save", full),
    "seal": lambda patch: patch.setattr(checkpoints, "seal", full),
    "fsync": lambda patch: patch.setattr("os.fsync", full),
    "rename": lambda patch: patch.setattr(checkpoints, "put", full),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_disk_that_fills_up_while_saving_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    trainer(tmp_path, 2, Retention(keep=2)).train()
    with monkeypatch.context() as patch:
        PLACES[place](patch)
        with pytest.raises(CheckpointError, match=r"disk is full.*step 3.*free some space"):
            trainer(tmp_path, 4, Retention(keep=2)).train(
                resume_from_checkpoint=str(tmp_path / "checkpoint-2")
            )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-2", {})
    trainer(tmp_path, 4, Retention(keep=2)).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-2")
    )
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-4", {})


def test_a_small_disk_really_full(tmp_path: Path, on_a_disk: Callable[..., Any]) -> None:
    """On a tmpfs of half a megabyte, where the system lets us mount one in a name space of ours."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def saved() -> list[str]:
        with pytest.raises(CheckpointError, match="the disk is full"):
            trainer(disk, 50, Retention(keep=50)).train()
        names = [folder.name for folder in found(disk)]
        assert newest_whole(disk) == (disk / names[-1], {})
        assert {path.name for path in disk.iterdir()} == set(names)
        return names

    assert on_a_disk(disk, "512k", saved)


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1B"), (1500, "1.5kB"), (2_345_678_901, "2.35GB"), (10**9, "1GB")]
)
def test_sizes_are_read_back_as_no_less(size: int, text: str) -> None:
    assert human(size) == text
    assert TypeAdapter(ByteSize).validate_python(text) >= size
