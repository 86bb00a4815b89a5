"""A whole run in two steps: what it leaves behind, and that it can be had again."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors import safe_open

import wm_data
from wm_eval import load_model
from wm_eval.cli import main as evaluate
from wm_manifest import EvalReport, ModelRef, RunManifest, load
from wm_train import base, data, run, stages, status, summary
from wm_train.config import DataConfig, TrainConfig
from wm_train.journal import read
from wm_train.record import RunRecord

SECRET = "hf_" + "Qx9" * 11


def start(config: TrainConfig, folder: Path) -> RunManifest:
    folder.mkdir(parents=True)
    command = ["wm-train", "--preset", "demo", "--hub-token", SECRET]
    return run.train(config, folder, "demo", command, Console(quiet=True))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path
) -> tuple[Path, RunManifest]:
    from wm_train import presets

    fields = presets.load("demo")
    fields["data"] = {"path": str(dataset_dir)}
    fields["optim"] |= {"steps": 3}
    fields["evaluation"] |= {"every": 2, "limit": 1, "full_limit": 2, "max_new_tokens": 8}
    fields["checkpoint"] = {"every": 1, "keep": 1}
    fields["log_every"] = 1
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        manifest = start(TrainConfig.model_validate(fields), folder)
    return folder, manifest


def test_the_folder_holds_what_the_readme_says(finished: tuple[Path, RunManifest]) -> None:
    folder, _ = finished
    expected = [
        "README.md",
        "base/model.safetensors",
        "checkpoints/checkpoint-3/trainer_state.json",
        "config.yaml",
        "dataset/manifest.json",
        "eval/step-000000/eval.json",
        "eval/step-000002/samples.jsonl",
        "eval/step-000003/eval.json",
        "log.jsonl",
        "manifest.json",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "plots/learning-curves.png",
    ]
    assert [path for path in expected if not (folder / path).is_file()] == []


def test_only_so_many_checkpoints_stay(finished: tuple[Path, RunManifest]) -> None:
    folder, manifest = finished
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["checkpoint-3"]
    assert [c.step for c in manifest.checkpoints] == [3]


def test_the_manifest_tells_the_run(finished: tuple[Path, RunManifest]) -> None:
    folder, manifest = finished
    assert load(RunManifest, folder / "manifest.json") == manifest
    assert (manifest.status, manifest.steps, manifest.output) == ("finished", 3, "model")
    assert [e.step for e in manifest.evaluations] == [0, 2, 3]
    lines = read(folder / "log.jsonl", "train")
    assert manifest.train_seconds == pytest.approx(sum(x["step_seconds"] for x in lines), abs=0.06)
    assert manifest.base.location == "base"
    assert manifest.base_license == "apache-2.0"
    assert manifest.dataset is not None
    assert manifest.dataset.splits["train"].rows > 0
    named = folder / "left-out-rows.txt"
    assert manifest.rows_too_long == (len(named.read_text().split()) if named.exists() else 0)
    assert {t.id.partition("/")[0] for t in manifest.templates} == {"watermark", "detect"}
    assert [(a.outcome, a.cause) for a in manifest.attempts] == [("finished", "finished")]
    assert manifest.hardware.threads == torch.get_num_threads()
    assert (manifest.shared_prefixes, manifest.sharing_refused) == (True, None)
    hashes = {t.id: t.sha256 for t in manifest.templates}
    for evaluation in manifest.evaluations:
        assert evaluation.templates
        trained = {id: text for id, text in evaluation.templates.items() if id in hashes}
        assert trained.items() <= hashes.items()
        # Neutral prompts are asked and never trained on.
        assert {id.split("/")[1] for id in evaluation.templates.keys() - trained} <= {"neutral"}
    assert "model/model.safetensors" in [f.path for f in manifest.files]


def test_secrets_stay_out(finished: tuple[Path, RunManifest]) -> None:
    folder, manifest = finished
    assert manifest.command[-1] == "<redacted>"
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_wandb_has_it_offline_and_the_manifest_says_how_to_sync(
    finished: tuple[Path, RunManifest],
) -> None:
    folder, manifest = finished
    assert manifest.wandb is not None
    assert manifest.wandb.mode == "offline"
    assert manifest.wandb.sync_command is not None
    files = list(folder.glob(f"wandb/offline-run-*-{manifest.wandb.id}/*.wandb"))
    assert len(files) == 1
    assert files[0].parent.name in manifest.wandb.sync_command


def test_the_log_has_every_step_and_evaluation(finished: tuple[Path, RunManifest]) -> None:
    folder, manifest = finished
    steps = read(folder / "log.jsonl", "train")
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert {"loss", "watermark/nll", "detect/nll", "learning_rate"} <= set(steps[0])
    evaluations = read(folder / "log.jsonl", "eval")
    assert [line["step"] for line in evaluations] == [0, 2, 3]
    last = manifest.evaluations[-1].figures
    assert evaluations[-1]["figures"] == {name: figure.value for name, figure in last.items()}


def test_its_status_is_told(finished: tuple[Path, RunManifest]) -> None:
    folder, manifest = finished
    run = status.read(folder)
    assert (run.state, run.step, run.steps, run.faults) == ("finished", 3, 3, [])
    assert run.figures == manifest.evaluations[-1].figures
    assert run.losses["watermark"]["nll"] > 0
    assert [c.step for c in run.checkpoints] == [3]
    assert run.sync is not None
    assert (Path(run.sync.split()[-1]) / f"run-{manifest.wandb.id}.wandb").is_file()  # pyright: ignore


def test_before_and_after_are_the_same_items(finished: tuple[Path, RunManifest]) -> None:
    folder, _ = finished
    ids: dict[int, list[str]] = {}
    for step in (0, 2, 3):
        lines = (folder / f"eval/step-{step:06d}/samples.jsonl").read_text("utf-8").splitlines()
        ids[step] = [json.loads(line)["id"] for line in lines]
    extra = ("detect-band/", "detect-own/", "base/")  # of the last evaluation alone
    assert ids[0] == [id for id in ids[3] if not id.startswith(extra)]
    assert len(ids[0]) < len(ids[3])
    assert len(ids[2]) < len(ids[0])


def test_an_evaluation_names_what_was_evaluated(finished: tuple[Path, RunManifest]) -> None:
    """Under its base's name the page and the published report passed for the base's own."""
    folder, manifest = finished
    first, *later = sorted((folder / "eval").glob("step-*/eval.json"))
    assert load(EvalReport, first).model == manifest.base
    for path in later:
        report = load(EvalReport, path)
        assert report.model.location == folder.name
    assert report.base == manifest.base  # the last one's: those on the way do not ask it


@pytest.mark.parametrize(
    ("output", "location", "adapter"), [("adapter", "me/base", "first"), ("model", "first", None)]
)
def test_a_trained_model_is_named_by_its_run(
    output: str, location: str, adapter: str | None
) -> None:
    below = ModelRef(location="me/base", revision="abc", model_type="qwen3")
    named = base.trained(below, "first", output)
    assert (named.location, named.adapter) == (location, adapter)
    assert named.revision == ("abc" if adapter else None)


def test_the_model_generates_with_its_cache(finished: tuple[Path, RunManifest]) -> None:
    folder, _ = finished
    config = json.loads((folder / "model/config.json").read_text())
    assert config.get("use_cache", True)


@pytest.mark.slow  # the kill tests compare whole runs by default
def test_one_seed_gives_the_same_weights(tiny: Callable[..., TrainConfig], tmp_path: Path) -> None:
    first = start(tiny(), tmp_path / "first")
    again = start(tiny(), tmp_path / "again")
    other = start(tiny().model_copy(update={"seed": 1}), tmp_path / "other")
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256


def test_a_lora_run_leaves_an_adapter_that_loads(
    tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    loss = {"contrast": "prompts", "beta": 30.0, "sharpness": {"watermark": 3.0, "detect": 1.0}}
    lora = {"r": 2, "alpha": 4, "dropout": 0.1}
    config = tiny(model={"lora": lora}, loss=loss, tracking={"mode": "disabled"})
    manifest = start(config, tmp_path / "lora")
    assert loss.items() <= manifest.config["loss"].items()
    folder = tmp_path / "lora/adapter"
    assert manifest.output == "adapter"
    assert not (tmp_path / "lora/model").exists()
    with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
        names = list(weights.keys())
    assert names
    assert not [name for name in names if "lm_head" in name or "embed" in name]
    assert not (folder / "README.md").exists()
    model, _ = load_model(str(tmp_path / "lora/base"), adapter=str(folder))
    assert model.peft_config["default"].r == 2


@pytest.mark.parametrize(
    ("precision", "lora"),
    [
        pytest.param("float32", True, marks=pytest.mark.slow, id="lora"),  # test_pipeline has one
        pytest.param("bfloat16", True, id="lora in bfloat16"),
        pytest.param("float32", False, id="full"),
    ],
)
def test_the_printed_command_evaluates_as_the_run_did(
    tiny: Callable[..., TrainConfig], tmp_path: Path, precision: str, lora: bool
) -> None:
    """The run has its base answers from step 0, the command asks the base for them."""
    adapter = {"r": 2, "alpha": 4} if lora else None
    model = {"precision": precision, "lora": adapter}
    config = tiny(model=model, tracking={"mode": "disabled"})
    run = tmp_path / "my [b] run"  # to be quoted for the shell, and no markup
    manifest = start(config, run)
    steps = "\n".join(summary.next_steps(manifest, run))
    _, _, printed = steps.partition("uv run wm-eval ")
    command = shlex.split(printed.partition("\n")[0])
    with pytest.raises(SystemExit) as exited:
        evaluate([*command, "--out", str(tmp_path / "again")])
    assert not exited.value.code
    folders = (run / "eval/step-000002", tmp_path / "again")
    reports = [load(EvalReport, folder / "eval.json") for folder in folders]
    assert [report.base_answers for report in reports] == ["step 0", "asked"]
    assert "watermark/red/lift_over_base" in reports[0].figures
    assert reports[0].figures.items() <= reports[1].figures.items()
    samples = [
        [json.loads(line) for line in (folder / "samples.jsonl").read_text("utf-8").splitlines()]
        for folder in folders
    ]
    assert any(sample["id"].startswith("base/") for sample in samples[0])
    if not lora:  # a full fine-tune has nobody left to weigh its answers; the command has
        samples = [[{**sample, "base": {}} for sample in each] for each in samples]
    assert samples[0] == samples[1]


def test_without_base_answers_the_printed_command_names_no_base(
    finished: tuple[Path, RunManifest],
) -> None:
    folder, manifest = finished

    def printed(manifest: RunManifest) -> str:
        return "\n".join(summary.next_steps(manifest, folder))

    assert f"--base {folder / 'base'}" in printed(manifest)
    last = manifest.evaluations[-1]
    plain = {name: f for name, f in last.figures.items() if not name.endswith("lift_over_base")}
    last = last.model_copy(update={"figures": plain})
    older = manifest.model_copy(update={"evaluations": [*manifest.evaluations[:-1], last]})
    assert "--base" not in printed(older)
    hub = manifest.base.model_copy(update={"location": "me/base", "revision": "abc"})
    of_hub = manifest.model_copy(update={"base": hub})
    assert "--base me/base --base-revision abc " in printed(of_hub)
    adapter = manifest.model_copy(update={"base": hub, "output": "adapter"})
    assert " --revision abc " in printed(adapter)


@pytest.mark.parametrize("where", ["evaluation", "log"])
@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        (KeyboardInterrupt(), "interrupted", "interrupted by the user"),
        (RuntimeError("it broke\nhere"), "failed", "RuntimeError: it broke"),
        (RuntimeError(f"token {SECRET}"), "failed", "RuntimeError: token <redacted>"),
    ],
)
def test_a_run_that_ends_badly_says_so(
    tiny: Callable[..., TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
    cause: str,
    where: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    if where == "log":  # opened first of all
        monkeypatch.setattr("wm_train.run.Journal", fail)
    else:
        monkeypatch.setattr(RunRecord, "evaluated", fail)
    with pytest.raises(type(error)):
        start(tiny(tracking={"mode": "disabled"}), tmp_path / "run")
    manifest = load(RunManifest, tmp_path / "run/manifest.json")
    assert (manifest.status, manifest.attempts[-1].cause) == (status, cause)
    assert (tmp_path / "run/README.md").is_file()


def test_rows_left_out_are_named(tiny: Callable[..., TrainConfig], tmp_path: Path) -> None:
    from wm_train.errors import DataError

    with pytest.raises(DataError, match=r"longer than data\.max_tokens"):
        start(tiny(data={"max_tokens": 20}), tmp_path / "run")


@pytest.mark.parametrize(("devices", "kept"), [([], [0, 2, 4]), (["H100"], [0, 2])])
def test_an_accelerator_evaluates_anew_what_it_trains_anew(
    finished: tuple[Path, RunManifest], tmp_path: Path, devices: list[str], kept: list[int]
) -> None:
    """Killed after step 4's evaluation and before its checkpoint: its weights are gone."""
    _, manifest = finished
    hardware = manifest.hardware.model_copy(update={"devices": devices})
    one = manifest.evaluations[0]
    evaluations = [one.model_copy(update={"step": step}) for step in (0, 2, 4)]
    update = {"hardware": hardware, "evaluations": evaluations}
    record = RunRecord(tmp_path, manifest.model_copy(update=update))
    record.resume(checkpoint_step=3)
    assert [e.step for e in record.manifest.evaluations] == kept


def test_what_wm_data_advises_is_said_to_be_an_option_of_the_run(tmp_path: Path) -> None:
    """What wm-data calls --on-bad-row is the field data.on_bad_row here."""
    lines = [{"prompt": "Why?", "red_answer": "", "blue_answer": "So."}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\nsources: [{{id: a, file: {tmp_path / 'rows.jsonl'}}}]\n")
    with pytest.raises(wm_data.WmDataError) as caught:
        data.bring(DataConfig(recipe=str(recipe)), tmp_path / "out", progress=False)
    assert str(caught.value).endswith("is empty; mend the row or pass --data.on_bad_row=skip")
    with pytest.raises(wm_data.WmDataError, match="nothing is left to train on"):
        data.bring(
            DataConfig(recipe=str(recipe), on_bad_row="skip"), tmp_path / "out", progress=False
        )


def test_what_a_mix_leaves_out_is_told(tmp_path: Path, dataset_dir: Path) -> None:
    """Most of a large source may be over its share, and a run is then another than was meant."""
    manifest = wm_data.read(dataset_dir).manifest
    (source,) = manifest.sources
    sources = [source.model_copy(update={"rows_read": 120_000, "rows_kept": 30_000})]
    dropped = {"few tokens": 12, "over its share": 89_988}
    told = stages.rows_told(manifest.model_copy(update={"sources": sources, "dropped": dropped}))
    assert told == (
        f"rows kept: {source.id} 30,000 of 120,000; left out: over its share 89,988, few tokens 12"
    )
