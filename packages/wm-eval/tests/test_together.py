"""Several processes answer together what one asks: its report, whatever their number and its end.

They are threads here, each with a model of its own; test_callback_processes has two processes.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from wm_eval import batching, evaluate, hf, leading, together
from wm_eval.generator import Likelihood, Reply
from wm_manifest import EvalReport, ModelRef

QUICK: dict[str, Any] = {"max_new_tokens": 6, "progress": False, "limit": 6}
PATIENCE_S = 30


class Threads:
    """What each of some threads has of the talk between them."""

    def __init__(self, count: int) -> None:
        self.count, self.slots = count, [None] * count
        self.meet = threading.Barrier(count, timeout=PATIENCE_S)
        self.mine = threading.local()

    def number(self) -> int:
        return self.count

    def rank(self) -> int:
        return self.mine.rank

    def gathered(self, value: Any) -> list[Any]:
        self.slots[self.rank()] = pickle.dumps(value)
        self.meet.wait()
        values = [pickle.loads(sent) for sent in self.slots]
        self.meet.wait()
        return values


@pytest.fixture
def adapted(make_model: Callable[..., Any]) -> Any:
    """With an adapter that does something: its base is asked as well."""
    torch.manual_seed(0)
    model = get_peft_model(make_model(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


@pytest.fixture(autouse=True)
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a meeting whenever a row has ended."""
    monkeypatch.setattr(batching, "POOL", 4)
    monkeypatch.setattr(together, "MEET_S", 0.0)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Numbers of rows in the pools that each thread answered."""
    found: dict[str, list[int]] = {}
    pool = hf.HFGenerator._pool

    def noted(self: Any, families: Any, *rest: Any) -> Iterator[Any]:
        rows = sum(len(family.requests) for family in families)
        found.setdefault(threading.current_thread().name, []).append(rows)
        return pool(self, families, *rest)

    monkeypatch.setattr(hf.HFGenerator, "_pool", noted)
    return found


def evaluated(
    count: int, model: Any, tokenizer: Any, dataset: Path, out: Path, **settings: Any
) -> tuple[EvalReport | BaseException | None, list[threading.Thread]]:
    """What the asking thread ends with, and those that helped, which are to have ended too."""
    talk = Threads(count)
    ended: list[Any] = []

    def help_along(rank: int) -> None:
        talk.mine.rank = rank
        with suppress(threading.BrokenBarrierError):  # as where a connection is lost
            together.help_evaluate(copy.deepcopy(model), tokenizer, talk)

    helpers = [
        threading.Thread(target=help_along, args=(rank,), name=f"helper {rank}", daemon=True)
        for rank in range(1, count)
    ]
    for helper in helpers:
        helper.start()
    talk.mine.rank = 0
    try:
        with leading(talk):
            report = evaluate(
                *(model, tokenizer, dataset),
                **{"talk": talk, "out": out, "batch_size": 1, **QUICK, **settings},
            )
        ended.append(report)
    except BaseException as error:
        ended.append(error)
        if isinstance(error, KeyboardInterrupt):
            talk.meet.abort()  # the process has ended
    for helper in helpers:
        helper.join(PATIENCE_S)
    return ended[0], helpers


@pytest.mark.parametrize("count", [2, 3])
def test_the_answers_are_those_of_one_alone(
    adapted: Any,
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    answered: dict[str, list[int]],
    count: int,
) -> None:
    alone = evaluate(adapted, tokenizer, dataset_dir, out=tmp_path / "1", batch_size=1, **QUICK)
    rows = sum(answered.pop("MainThread"))
    report, helpers = evaluated(count, adapted, tokenizer, dataset_dir, tmp_path / "n")
    assert isinstance(report, EvalReport)
    assert not any(helper.is_alive() for helper in helpers)
    assert report.figures == alone.figures
    assert "watermark/red/lift_over_base" in report.figures
    samples = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("1", "n")]
    assert samples[0] == samples[1]
    assert sum(map(sum, answered.values())) == rows  # each row once, by somebody
    assert len(answered) == count
    assert min(map(len, answered.values())) >= max(map(len, answered.values())) - len(answered) - 2


def test_an_evaluation_that_is_left_lets_the_others_go(
    adapted: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    """And goes on, alone or together, with what all had answered."""
    meetings = iter(range(4))

    class Left(BaseException):
        pass

    def leave() -> None:
        if next(meetings, None) is None:
            raise Left

    kept: dict[str, Any] = {"weights": ["a"], "between": leave}
    end, helpers = evaluated(2, adapted, tokenizer, dataset_dir, tmp_path / "n", **kept)
    assert isinstance(end, Left)
    assert not any(helper.is_alive() for helper in helpers)
    lines = (tmp_path / "n/samples.partial.jsonl").read_text().splitlines()
    assert len(lines) > 1 + 4  # more than one process alone has in as many meetings

    report, _ = evaluated(2, adapted, tokenizer, dataset_dir, tmp_path / "n", weights=["a"])
    alone = evaluate(adapted, tokenizer, dataset_dir, out=tmp_path / "1", batch_size=1, **QUICK)
    assert isinstance(report, EvalReport)
    assert report.figures == alone.figures


def test_an_interrupt_in_the_middle_ends_all(
    adapted: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come between the halves of a meeting: no word is said after it."""
    pool = hf.HFGenerator._pool

    def interrupted(self: Any, *asked: Any) -> Iterator[Any]:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return pool(self, *asked)

    monkeypatch.setattr(hf.HFGenerator, "_pool", interrupted)
    end, helpers = evaluated(2, adapted, tokenizer, dataset_dir, tmp_path / "n")
    assert isinstance(end, KeyboardInterrupt)
    assert not any(helper.is_alive() for helper in helpers)


class TwoArgumentsError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [
        ("_pool", ValueError("a fault of its own"), "a fault of its own"),
        (
            "_pool",
            TwoArgumentsError("cannot ", "be read back"),
            "TwoArgumentsError: cannot be read",
        ),
        ("answering", ValueError("no room"), "no room"),
    ],
)
def test_what_goes_wrong_with_a_helper_is_raised_where_it_was_asked(
    adapted: Any,
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
    said: str,
) -> None:
    rightly = getattr(hf.HFGenerator, place)

    def fails(self: Any, *asked: Any) -> Any:
        if threading.current_thread().name == "helper 1":
            raise error
        return rightly(self, *asked)

    monkeypatch.setattr(hf.HFGenerator, place, fails)
    end, helpers = evaluated(2, adapted, tokenizer, dataset_dir, tmp_path / "n")
    assert isinstance(end, Exception)
    assert said in str(end)
    assert not any(helper.is_alive() for helper in helpers)


def test_a_dataset_that_is_none_lets_the_others_go(
    adapted: Any, tokenizer: Any, tmp_path: Path
) -> None:
    end, helpers = evaluated(2, adapted, tokenizer, tmp_path / "nothing", tmp_path / "n")
    assert isinstance(end, Exception)
    assert not any(helper.is_alive() for helper in helpers)


def test_another_backend_answers_alone(
    adapted: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    class Base:
        def answer(self, requests: Any, decoding: Any, done: Any = ()) -> Iterator[Any]:
            yield {one.id: Reply(text="Hi", tokens=1, stopped=True) for one in requests}

        def likelihoods(self, asked: Any, done: Any = ()) -> Iterator[Any]:
            yield {one.id: Likelihood(log_likelihood=-1.0, tokens=1) for one in asked}

    scripted: dict[str, Any] = {"base": Base(), "base_ref": ModelRef(location="scripted")}
    report, helpers = evaluated(2, adapted, tokenizer, dataset_dir, tmp_path / "n", **scripted)
    assert isinstance(report, EvalReport)
    assert report.base_answers == "asked"
    assert not any(helper.is_alive() for helper in helpers)


def test_the_rows_that_memory_was_enough_for_are_those_of_all(
    adapted: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = hf.HFGenerator._pool

    def short(self: Any, *asked: Any) -> Iterator[Any]:
        if threading.current_thread().name == "helper 1" and self.batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fewer(self, *asked)

    monkeypatch.setattr(hf.HFGenerator, "_pool", short)
    report, _ = evaluated(2, adapted, tokenizer, dataset_dir, tmp_path / "n", batch_size=4)
    assert isinstance(report, EvalReport)
    assert report.decoding.batch_size == 2


def test_parts_are_found_in_a_model_that_is_divided(adapted: Any) -> None:
    """All processes must make the same passes then, and each answers everything."""
    assert not together.in_parts(adapted)
    next(adapted.parameters()).ds_id = 1  # as DeepSpeed marks what it divides
    assert together.in_parts(adapted)
