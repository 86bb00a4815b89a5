"""What a killed evaluation's answers are good for: the same goes on, another starts over and says so.

Scripts answer here; that models end in the same report is in test_resume.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wm_eval import answers, evaluate, items
from wm_eval.compare import cautions
from wm_eval.generator import Likelihood, Request
from wm_eval.partial import BEFORE, NAME, Partial
from wm_manifest import EvalReport, ModelRef

Run = Callable[..., EvalReport]
KEPT = 7


class Killed(BaseException):
    """Stands for a signal: nothing in the evaluation catches it."""


def dying(after: int) -> Callable[[], None]:
    """What is called between batches of answers, and raises at the last of so many calls."""
    left = iter(range(after - 1))

    def between() -> None:
        if next(left, None) is None:
            raise Killed

    return between


@pytest.fixture
def killed(run_script: Run, tmp_path: Path) -> Callable[..., None]:
    """Kill an evaluation in `tmp_path` after so many answers."""

    def kill(script: Callable[[Request], str], after: int = KEPT, **settings: Any) -> None:
        between = dying(after)
        with pytest.raises(Killed):
            run_script(script, out=tmp_path, weights=["these"], between=between, **settings)

    return kill


def likelihood(one: Any) -> Likelihood:
    return Likelihood(-1.0, 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"extras": True}, {"extras": False}),
        ({"extras": False}, {"extras": True}),
        ({}, {"base": (lambda request: "Hi", likelihood)}),
        ({"hardware": "cuda:0"}, {"hardware": "cuda:1"}),
    ],
)
def test_what_changes_no_answer_goes_on(
    before: dict[str, Any],
    after: dict[str, Any],
    killed: Callable[..., None],
    run_script: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("wm_eval.run.say", lambda line, shown: said.append(line))
    killed(lambda request: "red", **before)
    asked: list[str] = []
    run_script(
        lambda request: asked.append(request.id) or "red",
        **{"out": tmp_path, "weights": ["these"], **after},
    )
    assert said[1:] == [f"going on with the {KEPT} answers of {NAME}"]
    assert (
        len(set(asked) & {answer.id for answer in answers.read(tmp_path / "samples.jsonl")[:KEPT]})
        == 0
    )
    assert not (tmp_path / NAME).exists()
    assert not (tmp_path / BEFORE).exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"weights": ["others"]}, "weights"),
        ({"hardware": "cuda:0"}, "device"),
        ({"arithmetic": ["torch.bfloat16"]}, "device"),
        ({"chat_template": "{{ messages }}"}, "chat template"),
        ({"prompts_sha256": "b"}, "prompts (a chat template may write the date)"),
    ],
)
def test_another_question_starts_over_says_why_and_keeps_what_there_was(
    change: dict[str, Any],
    what: str,
    killed: Callable[..., None],
    run_script: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("wm_eval.run.say", lambda line, shown: said.append(line))
    killed(lambda request: "red")
    kept = (tmp_path / NAME).read_bytes()
    run_script(lambda request: "blue", **{"out": tmp_path, "weights": ["these"], **change})
    assert said[1:] == [
        f"starting over: the {KEPT} answers of {NAME} are of other {what}; they are kept in {BEFORE}"
    ]
    assert (tmp_path / BEFORE).read_bytes() == kept
    assert {a.answer for a in answers.read(tmp_path / "samples.jsonl") if a.task == "detect"} == {
        "blue"
    }


def test_of_another_base_the_answers_and_likelihoods_alone_are_asked_again(
    killed: Callable[..., None], run_script: Run, dataset_dir: Path, tmp_path: Path
) -> None:
    data = items.read(dataset_dir)
    own = len(data.watermark) + len(data.detect)
    one = {"base": (lambda request: "one", likelihood), "base_ref": ModelRef(location="one")}
    killed(lambda request: "red", own + len(data.watermark) + 1, **one)
    lines = (tmp_path / NAME).read_text("utf-8")
    assert '"log_likelihood"' in lines
    assert '"origin": "base"' in lines
    other = {
        "base": (lambda request: "other", lambda one: Likelihood(-9.0, 2)),
        "base_ref": ModelRef(location="other"),
    }
    run_script(lambda request: pytest.fail(request.id), out=tmp_path, weights=["these"], **other)
    found = answers.read(tmp_path / "samples.jsonl")
    assert {a.answer for a in found if a.origin == "base"} == {"other"}
    assert {a.base["log_likelihood"] for a in found if a.base} == {-9.0}


def test_prompts_with_a_date_start_over_on_the_next_day_and_are_not_compared_in_silence(
    tokenizer: Any,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripted: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer.chat_template = "{{ strftime_now('%d %B') }}\n" + tokenizer.chat_template

    def run(day: int, folder: str, **settings: Any) -> EvalReport:
        clock = SimpleNamespace(now=lambda *zone: datetime(2030, 7, day))
        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", clock)
        monkeypatch.setattr("wm_eval.run.datetime", clock)
        return evaluate(
            *(scripted(lambda request: "red"), tokenizer, dataset_dir),
            limit=4,
            out=tmp_path / folder,
            model_ref=ModelRef(location="a script"),
            weights=["these"],
            **settings,
        )

    with pytest.raises(Killed):
        run(24, "a", between=dying(KEPT))
    with pytest.raises(Killed):
        run(24, "a", between=dying(1))
    report = run(25, "a")
    lines = [line for line in capsys.readouterr().err.splitlines() if NAME in line]
    assert [line.split(" the ")[0] for line in lines] == ["going on with", "starting over:"]
    assert "other prompts" in lines[1]
    assert report.valid
    run(25, "same")
    run(26, "b")
    days = [line for line in cautions(tmp_path / "a", tmp_path / "b")[1] if "day" in line]
    assert days == ["day is not the same: 2030-07-25 and 2030-07-26"]
    assert not cautions(tmp_path / "a", tmp_path / "same")[1]
    assert report.controls[-3].name == "prompts are the same on another day"


def test_a_file_of_an_older_version_is_kept_too(
    tmp_path: Path, killed: Callable[..., None]
) -> None:
    killed(lambda request: "red")
    _, *lines = (tmp_path / NAME).read_text("utf-8").splitlines(keepends=True)
    (tmp_path / NAME).write_text('{"key": "4e07"}\n' + "".join(lines), encoding="utf-8")
    partial = Partial(tmp_path, {"weights": ["these"]})
    assert "are of another evaluation; they are kept" in partial.note
    assert partial.answers == {}
    assert (tmp_path / BEFORE).is_file()
