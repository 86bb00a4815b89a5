"""Each control fails on the fault that it is there for, and on nothing that a bad model does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wm_eval import WmEvalError, items
from wm_eval.controls import detect_wordings, training_record
from wm_eval.generator import Request
from wm_eval.question import Unmarked
from wm_eval.show import warning
from wm_manifest import (
    DatasetUse,
    EvalReport,
    GitState,
    Hardware,
    ModelRef,
    RunManifest,
    save,
)

Gold = Callable[[Request], str]


def failed(report: EvalReport) -> list[str]:
    blocking = [control for control in report.controls if control.blocking]
    assert report.valid == all(control.passed for control in blocking)
    return [control.name for control in report.controls if not control.passed]


def test_a_sound_evaluation_of_any_model_is_valid(
    run_script: Callable[..., EvalReport], gold: Gold
) -> None:
    for script in (gold, lambda request: "", lambda request: "?! ..."):
        assert failed(run_script(script)) == []


def test_gold_answers_that_do_not_earn_their_colour(
    run_script: Callable[..., EvalReport], gold: Gold, dataset_dir: Path
) -> None:
    data = items.read(dataset_dir)
    other = {"red": "blue", "blue": "red", None: None}
    turned = [dataclasses.replace(item, expected=other[item.expected]) for item in data.detect]
    data = dataclasses.replace(data, detect=turned)
    assert "gold answers earn their colour" in failed(run_script(gold, data=data))


def test_labels_that_can_be_guessed_without_reading(
    run_script: Callable[..., EvalReport], dataset_dir: Path
) -> None:
    data = items.read(dataset_dir)
    few_red = [i for i in data.detect if i.expected == "blue"] + [
        i for i in data.detect if i.expected == "red"
    ][:8]
    data = dataclasses.replace(data, detect=few_red)
    report = run_script(lambda request: "blue", data=data)
    assert "shuffled labels give chance" in failed(report)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 11, None])
def test_an_oracle_is_valid_at_any_limit(
    run_script: Callable[..., EvalReport], gold: Gold, dataset_dir: Path, limit: int | None
) -> None:
    for script in (gold, lambda request: "blue", lambda request: "red"):
        report = run_script(script, data=items.read(dataset_dir, limit=limit))
        assert report.valid, [c for c in report.controls if not c.passed]


@pytest.mark.parametrize(("red", "blue"), [(0, 2), (0, 3), (1, 4), (2, 6), (12, 20)])
def test_labels_of_mostly_one_colour_fail_at_any_size(
    run_script: Callable[..., EvalReport], dataset_dir: Path, red: int, blue: int
) -> None:
    data = items.read(dataset_dir)
    texts = {c: [i for i in data.detect if i.expected == c] for c in items.COLOURS}
    data = dataclasses.replace(data, detect=texts["red"][: 2 * red] + texts["blue"][: 2 * blue])
    assert "shuffled labels give chance" in failed(run_script(lambda request: "blue", data=data))


def test_a_neutral_arm_that_is_all_one_colour(run_script: Callable[..., EvalReport]) -> None:
    report = run_script(lambda request: "Hi you")
    assert "neutral arm can serve as a null" in failed(report)
    assert report.valid, "it is a finding about the model, the figures stand"
    assert "NOT VALID" not in warning(report)
    assert "does not hold: neutral arm can serve as a null (found 1.000, exp" in warning(report)


def test_a_coloured_prompt_that_was_never_asked_neutrally(
    dataset_dir: Path, run_script: Callable[..., EvalReport], gold: Gold
) -> None:
    data = items.read(dataset_dir)
    arms = [i for i in data.watermark if i.id != data.watermark[2].id]
    assert data.watermark[2].arm == "neutral"
    report = run_script(gold, data=dataclasses.replace(data, watermark=arms))
    assert failed(report) == ["neutral arm can serve as a null"]
    assert not report.valid, "without the neutral arm there is nothing to hold success against"
    assert "1 prompts have no neutral answer" in warning(report)


@pytest.mark.parametrize(
    ("trained", "here", "fails"),
    [("a" * 64, "a", False), (None, None, False), ("a" * 64, "b", True), (None, "a", True)],
)
def test_the_chat_template_must_be_known_to_be_the_same(
    trained: str | None, here: str | None, fails: bool, own_dataset_dir: Path, tmp_path: Path
) -> None:
    data = items.read(own_dataset_dir)
    run_manifest(tmp_path, data.manifest.templates, chat_template_sha256=trained)
    digest = here and here * 64
    controls = training_record(data, tmp_path / "manifest.json", digest)
    names = [control.name for control in controls if not control.passed and control.blocking]
    assert names == (["chat template is the training run's"] if fails else [])


def test_a_test_prompt_that_was_trained_on(
    own_dataset_dir: Path, run_script: Callable[..., EvalReport]
) -> None:
    seeds = own_dataset_dir / "seeds"
    both = [*pq.read_table(seeds / "train.parquet").to_pylist()]
    both += pq.read_table(seeds / "test.parquet").to_pylist()[:1]
    pq.write_table(pa.Table.from_pylist(both), seeds / "train.parquet")
    report = run_script(lambda request: "", data=items.read(own_dataset_dir))
    assert failed(report) == ["test groups unseen in training"]
    [control] = [c for c in report.controls if not c.passed]
    assert (control.value, control.expected) == (1, "0 of 4 groups")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"codebook": "v0"}, "codebook is the dataset's"),
        ({"codebook": "v1 0000"}, "codebook is the dataset's"),
        ({"codebook": ""}, "codebook is the dataset's"),
    ],
)
def test_a_dataset_of_another_codebook(
    own_dataset_dir: Path, run_script: Callable[..., EvalReport], change: dict[str, Any], name: str
) -> None:
    path = own_dataset_dir / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert failed(run_script(lambda request: "", data=items.read(own_dataset_dir))) == [name]


Templates = list[dict[str, Any]]


def changed(id: str) -> Callable[[Templates], Templates]:
    return lambda all: [t | {"sha256": "0" * 64} if t["id"] == id else t for t in all]


def without(start: str) -> Callable[[Templates], Templates]:
    return lambda all: [t for t in all if not t["id"].startswith(start)]


# What is done to a record of templates, and whether the control of that record must fail.
RECORDS = [
    ("changed watermark", changed("watermark/red/plain"), True),
    ("changed neutral", changed("watermark/neutral/plain"), True),
    ("missing watermark", without("watermark/red/plain"), True),
    ("missing detect", without("detect/system/plain"), True),
    ("empty", without(""), True),
    ("no neutral wordings, as wm-data writes it", without("watermark/neutral/"), False),
    ("another of an unused wording", changed("watermark/red/role"), False),
]


@pytest.mark.parametrize(
    ("change", "fails"), [case[1:] for case in RECORDS], ids=[case[0] for case in RECORDS]
)
def test_wordings_that_the_dataset_was_not_built_with(
    own_dataset_dir: Path,
    run_script: Callable[..., EvalReport],
    change: Callable[[Templates], Templates],
    fails: bool,
) -> None:
    path = own_dataset_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"templates": change(manifest["templates"])}))
    report = run_script(lambda request: "", data=items.read(own_dataset_dir))
    assert failed(report) == (["prompt templates are the dataset's"] if fails else [])


def run_manifest(folder: Path, templates: Any, **fields: Any) -> None:
    """The record of a training on the dataset in `folder/own`."""
    run = RunManifest(
        name="by-hand",
        status="finished",
        created_at="2026-01-01T00:00:00+00:00",
        command=[],
        preset=None,
        config={},
        seed=0,
        git=GitState(commit=None, dirty=False),
        lock_sha256=None,
        packages={},
        python="3.11",
        hardware=Hardware(platform="x", cpu="x", cores=1, memory_gib=1.0),
        base=ModelRef(location="x"),
        dataset=DatasetUse(
            name="by-hand",
            path="own",
            manifest_sha256="0" * 64,
            recipe={},
            seed=0,
            sources=[],
            splits={},
            dropped={},
        ),
        templates=templates,
        codebook="v1",
        output="model",
        **fields,
    )
    save(run, folder / "manifest.json")


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        *(case[1:] for case in RECORDS),
        (changed("detect/question/plain"), True),
    ],
    ids=[*(case[0] for case in RECORDS), "changed detect"],
)
def test_wordings_that_the_run_was_not_trained_with(
    own_dataset_dir: Path,
    tmp_path: Path,
    run_script: Callable[..., EvalReport],
    change: Callable[[Templates], Templates],
    fails: bool,
) -> None:
    data = items.read(own_dataset_dir)
    built = json.loads((own_dataset_dir / "manifest.json").read_text())
    run_manifest(tmp_path, change(built["templates"]))
    report = run_script(lambda request: "", data=data, trained_with=tmp_path / "manifest.json")
    assert failed(report) == (["prompt templates are the training run's"] if fails else [])


def test_the_named_training_set_is_checked_too(
    dataset_dir: Path, own_dataset_dir: Path, run_script: Callable[..., EvalReport]
) -> None:
    trained_with = own_dataset_dir / "manifest.json"
    report = run_script(lambda request: "", trained_with=trained_with)
    assert failed(report) == []
    (own_dataset_dir / "seeds" / "train.parquet").write_bytes(
        (dataset_dir / "seeds" / "test.parquet").read_bytes()
    )
    report = run_script(lambda request: "", trained_with=trained_with)
    assert failed(report) == ["test groups unseen in the named training set"]


def test_what_is_no_manifest_is_refused(
    tmp_path: Path, run_script: Callable[..., EvalReport]
) -> None:
    (tmp_path / "m.json").write_text("{}")

    def never(request: Request) -> str:
        raise AssertionError("asked before the record was looked at")

    with pytest.raises(WmEvalError, match="neither a run's nor a dataset's manifest"):
        run_script(never, trained_with=tmp_path / "m.json")


@pytest.mark.parametrize(
    ("change", "control"),
    [
        (
            lambda item: dataclasses.replace(
                item, expected="red" if item.expected == "blue" else "blue"
            ),
            "gold answers earn their colour",
        ),
        (lambda item: dataclasses.replace(item, group="trained"), "test groups unseen in training"),
    ],
)
def test_texts_of_the_bands_are_looked_at_too(
    change: Callable[[Any], Any],
    control: str,
    run_script: Callable[..., EvalReport],
    own_dataset_dir: Path,
) -> None:
    data = items.read(own_dataset_dir)
    bands = [dataclasses.replace(item, origin="band", band=16) for item in data.detect]
    path = own_dataset_dir / "seeds" / "train.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "group": "trained"} for row in rows]), path)
    assert failed(run_script(lambda request: "", data=dataclasses.replace(data, bands=bands))) == []
    bands = [change(item) for item in bands]
    report = run_script(lambda request: "", data=dataclasses.replace(data, bands=bands))
    assert failed(report) == [control]


def test_an_unmarked_text_of_a_trained_prompt_is_seen(
    run_script: Callable[..., EvalReport], own_dataset_dir: Path
) -> None:
    data = items.read(own_dataset_dir)
    trained = pq.read_table(own_dataset_dir / "seeds" / "train.parquet")["group"][0].as_py()
    texts = [Unmarked(id="0", group=trained, source="here", text="Rain falls.")]
    report = run_script(lambda request: "", data=dataclasses.replace(data, unmarked=texts))
    assert failed(report) == ["test groups unseen in training"]


def test_a_wording_that_wm_prompts_has_no_more_is_left_out_of_own_questions(
    own_dataset_dir: Path,
) -> None:
    data = items.read(own_dataset_dir)
    before = detect_wordings(data)
    gone = [dataclasses.replace(data.detect[0], variant="gone"), *data.detect[1:]]
    with pytest.warns(UserWarning, match="for gone"):
        assert detect_wordings(dataclasses.replace(data, detect=gone)) == before
