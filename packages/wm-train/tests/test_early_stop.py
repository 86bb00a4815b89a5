"""The best evaluation, when a training ends for want of improvement, and that a kill changes nothing."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState

from wm_manifest import Estimate, Evaluation, RunManifest, load
from wm_train import checkpoints, cli, run
from wm_train.config import EarlyStopConfig, TrainConfig
from wm_train.divergence import Divergence, DivergenceError
from wm_train.early_stop import judge, on_the_way
from wm_train.errors import ConfigError

pytestmark = pytest.mark.usefixtures("no_pictures")

METRIC = "detect/accuracy"


def evaluation(
    step: int, value: float | None, half: float | None, valid: bool = True
) -> Evaluation:
    ends: dict[str, Any] = {}
    if half is not None and value is not None:
        ends = {"low": value - half, "high": value + half}
    figures = {METRIC: Estimate(value=value, n=100, **ends)}
    split = "validation" if step else "test"
    return Evaluation(step=step, path=f"eval/{step}", valid=valid, figures=figures, split=split)


CASES: dict[str, tuple[str, float | None, list[float | None], int | None, int]] = {
    # name: mode, half of the interval, values of steps 1, 2, ..., best step, waited
    "nothing yet": ("max", 0.05, [], None, 0),
    "first": ("max", 0.05, [0.5], 1, 0),
    "sure improvement": ("max", 0.05, [0.5, 0.6], 2, 0),
    "perhaps chance: best, but it waits": ("max", 0.05, [0.5, 0.54], 2, 1),
    "slow progress adds up": ("max", 0.05, [0.5, 0.53, 0.56], 3, 0),
    "touching is not beyond": ("max", 0.25, [0.5, 0.75], 2, 1),
    "worse": ("max", 0.05, [0.5, 0.4, 0.4], 1, 2),
    "of equals the earlier": ("max", 0.05, [0.5, 0.5], 1, 1),
    "less is better": ("min", 0.05, [0.5, 0.4, 0.45], 2, 1),
    "less, perhaps chance": ("min", 0.05, [0.5, 0.46], 2, 1),
    "no interval": ("max", None, [0.5, 0.51], 2, 0),
    "not measured": ("max", 0.05, [None, 0.5, None], 2, 1),
    "no number": ("max", 0.05, [0.5, math.nan, math.inf], 1, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_best_and_waited(case: str) -> None:
    mode, half, values, best, waited = CASES[case]
    known = [evaluation(step, value, half) for step, value in enumerate(values, 1)]
    judged = judge([evaluation(0, 0.9, half), *reversed(known)], METRIC, mode)  # type: ignore[arg-type]
    assert (judged.best and judged.best.step, judged.waited) == (best, waited)


def test_an_evaluation_that_is_not_valid_is_no_improvement() -> None:
    known = [evaluation(1, 0.5, 0.05), evaluation(2, 0.9, 0.05, valid=False)]
    judged = judge(known, METRIC, "max")
    assert (judged.best, judged.waited) == (known[0], 1)


def test_what_is_reported_on_the_test_split_is_not_chosen_by() -> None:
    known = [
        evaluation(1, 0.5, 0.05),
        evaluation(2, 0.9, 0.05).model_copy(update={"split": "test"}),
    ]
    assert judge(known, METRIC, "max").best == known[0]


def test_a_dataset_without_rows_to_choose_by_is_refused() -> None:
    config, splits = EarlyStopConfig(metric=METRIC), {"validation": SimpleNamespace(rows=0)}
    dataset: Any = SimpleNamespace(manifest=SimpleNamespace(name="mine", splits=splits))
    with pytest.raises(ConfigError, match="chooses by the split validation, of which mine has no"):
        on_the_way(config, dataset)
    assert on_the_way(EarlyStopConfig(), dataset) == {}


# ---------------------------------------------------------------------------------------- whole runs


def go(config: TrainConfig, folder: Path) -> tuple[RunManifest, str]:
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(record=True, width=200, file=io.StringIO())
    manifest = run.train(config, folder, "demo", ["wm-train"], console)
    return manifest, console.export_text()


@pytest.fixture(scope="module")
def config(tiny: Callable[..., TrainConfig]) -> TrainConfig:
    """Two steps teach nothing: accuracy is 0 each time, and never surely more than the first."""
    return tiny(
        optim={"steps": 9, "learning_rate": 1e-6},
        evaluation={"every": 1},
        checkpoint={"every": 100, "keep": 1},
        early_stop={"metric": METRIC, "patience": 2},
        model={"lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
        tracking={"mode": "disabled"},
    )


@pytest.fixture(scope="module")
def ended(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunManifest, str]:
    return go(config, tmp_path_factory.mktemp("ended") / "run")


def test_a_training_without_improvement_ends_and_says_so(ended: tuple[RunManifest, str]) -> None:
    manifest, said = ended
    assert [e.step for e in manifest.evaluations] == [0, 1, 2, 3, 4]
    assert [e.split for e in manifest.evaluations] == ["test", *["validation"] * 3, "test"]
    assert (manifest.status, manifest.steps) == ("finished", 4)
    cause = f"stopped early: no sure improvement of {METRIC} in 2 evaluations"
    assert f"step 3: {cause}" in said
    assert manifest.attempts[-1].cause == f"finished; {cause}"
    last, before = (manifest.evaluations[i].figures[METRIC].n for i in (-1, -2))
    assert last > before  # evaluated in full, as a last step is


def test_the_best_checkpoint_stays_and_is_named(ended: tuple[RunManifest, str]) -> None:
    manifest, _ = ended
    assert [c.step for c in manifest.checkpoints] == [1, 4]
    assert manifest.best is not None
    assert (manifest.best.step, manifest.best.path) == (1, "checkpoints/checkpoint-1")
    assert manifest.best.figure == manifest.evaluations[1].figures[METRIC]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param("evaluation of 2", marks=pytest.mark.slow),
        "evaluation of 3",
        pytest.param("evaluation of 4", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_cut_off_ends_the_same(
    config: TrainConfig, tmp_path: Path, ended: tuple[RunManifest, str], stop: str
) -> None:
    step, folder = int(stop[-1]), tmp_path / "run"
    from wm_train.record import RunRecord

    evaluated = RunRecord.evaluated

    def cut(self: RunRecord, report: Any) -> None:
        evaluated(self, report)
        if report.step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunRecord, "evaluated", cut)
        with pytest.raises(KeyboardInterrupt):
            go(config, folder)
    manifest, _ = go(config, folder)
    whole, _ = ended
    assert manifest.weights_sha256 == whole.weights_sha256
    assert [e.figures for e in manifest.evaluations] == [e.figures for e in whole.evaluations]
    assert (manifest.best, manifest.steps) == (whole.best, whole.steps)
    assert manifest.attempts[-1].cause == whole.attempts[-1].cause
    assert manifest.checkpoints == whole.checkpoints


def test_a_figure_that_is_not_there_is_named_at_once(config: TrainConfig, tmp_path: Path) -> None:
    other = config.early_stop.model_copy(update={"metric": "detect/acuracy"})
    with pytest.raises(ConfigError, match="did you mean detect/accuracy"):
        go(config.model_copy(update={"early_stop": other}), tmp_path / "run")


# ---------------------------------------------------------------------------------------- divergence

LOGS: dict[str, tuple[list[float], float, float | None, str | None]] = {
    # name: losses so far, gradient's norm, bound, what is said
    "fine": ([2.0, 1.0], 1.0, None, None),
    "up, but not by much": ([2.0, 19.0], 1.0, None, None),
    "ten times the first": ([2.0, 21.0], 1.0, None, "the loss is 21, above 20 at step 2"),
    "noise about nearly nothing": ([0.01, 0.9], 1.0, None, None),
    "a bound": ([2.0, 3.1], 1.0, 3.0, "the loss is 3.1, above 3 at step 2"),
    "NaN": ([2.0, math.nan], 1.0, None, "the loss is nan at step 2"),
    "NaN at once": ([math.nan], 1.0, None, "the loss is nan at step 1"),
    "infinite": ([2.0, math.inf], 1.0, 1e9, "the loss is inf at step 2"),
    "gradient of NaN": ([2.0, 2.0], math.nan, None, "the gradient's norm is nan at step 2"),
}


@pytest.mark.parametrize("case", LOGS)
def test_divergence_is_seen_in_the_log(case: str, tmp_path: Path) -> None:
    losses, norm, bound, said = LOGS[case]
    args: Any = SimpleNamespace(output_dir=str(tmp_path))
    history = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    state = TrainerState(global_step=len(losses), log_history=history)
    watch = Divergence(bound, 100)
    logs = {"loss": losses[-1], "grad_norm": norm}
    if said is None:
        watch.on_log(args, state, TrainerControl(), logs)
        return
    with pytest.raises(DivergenceError) as stopped:
        watch.on_log(args, state, TrainerControl(), logs)
    assert str(stopped.value).startswith(said)
    assert "no checkpoint was saved yet; lower optim.learning_rate" in str(stopped.value)


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    config: TrainConfig, tmp_path: Path
) -> None:
    hot = config.model_copy(
        update={
            "optim": config.optim.model_copy(update={"learning_rate": 1e38, "steps": 10}),
            "checkpoint": config.checkpoint.model_copy(update={"every": 1}),
            "evaluation": config.evaluation.model_copy(update={"every": 100}),
        }
    )
    with pytest.raises(DivergenceError) as stopped:
        go(hot, tmp_path / "run")
    manifest = load(RunManifest, tmp_path / "run/manifest.json")
    good, passed = checkpoints.newest_whole(tmp_path / "run/checkpoints")
    assert good is not None
    assert not passed
    assert f"the last good checkpoint is {good}" in str(stopped.value)
    assert [c.step for c in manifest.checkpoints] == [checkpoints.step_of(good)]
    assert manifest.status == "failed"
    assert (manifest.attempts[-1].cause or "").startswith("DivergenceError: the loss is ")


def test_weights_that_are_no_numbers_are_not_evaluated(config: TrainConfig, tmp_path: Path) -> None:
    """Trainer evaluates a step before it logs it, and here the log has a line in ten steps."""
    hot = config.model_copy(
        update={
            "optim": config.optim.model_copy(update={"learning_rate": 1e38, "steps": 10}),
            "evaluation": config.evaluation.model_copy(update={"every": 5}),
            "log_every": 10,
        }
    )
    with pytest.raises(DivergenceError, match=r"is no number at step 5: .* has diverged"):
        go(hot, tmp_path / "run")
    manifest = load(RunManifest, tmp_path / "run/manifest.json")
    assert [evaluation.step for evaluation in manifest.evaluations] == [0]


def test_divergence_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(*_: Any) -> None:
        raise DivergenceError("the loss is nan")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_train", diverge)
    monkeypatch.setattr("sys.argv", ["wm-train", "--preset", "demo"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 4
    assert capsys.readouterr().err == "error: the loss is nan\n"
