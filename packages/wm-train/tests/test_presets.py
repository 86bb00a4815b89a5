"""Every shipped preset is valid; what a user can get wrong has one clear line."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wm_train import presets
from wm_train.config import OptimConfig, TrainConfig
from wm_train.errors import ConfigError


@pytest.mark.parametrize("name", presets.names())
def test_shipped_preset_is_valid(name: str) -> None:
    config = TrainConfig.model_validate(presets.load(name))
    assert config.model_dump(exclude_unset=True)["model"] == presets.load(name)["model"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("demoo", None, "did you mean demo"),
        ("nowhere.yaml", None, "cannot be read"),
        ("list.yaml", "- 1\n", "expected a mapping of fields, found list"),
        ("empty.yaml", "", "expected a mapping of fields, found NoneType"),
        ("broken.yaml", "model: {base: demo\n", "line 2"),
        ("latin.yaml", "model: {base: \xfc}\n", "cannot be read"),
        (
            "twice.yaml",
            "seed: 1\noptim: {steps: 5}\noptim: {epochs: 2}\n",
            "line 3.*'optim'.*line 2",
        ),
        ("deep.yaml", "optim: {steps: 5, 'steps': 6}\n", "line 1, column 19: 'steps'.*second time"),
        ("number.yaml", "seed: 1\n1: 2\n", "line 2, column 1: expected a field's name, found 1;"),
        ("yes.yaml", "model: {yes: 1}\n", "expected a field's name, found yes"),
        ("list-key.yaml", "[a, b]: 1\n", "found a list or mapping"),
        ("date.yaml", "seed: 2020-13-45\n", "date.yaml: month must be in"),
    ],
)
def test_bad_preset_says_what_is_wrong(
    name: str, content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=expected):
        presets.load(name)


@pytest.mark.parametrize(("size", "advice"), [(16, "12 or 18"), (5, "take 6,"), (7, "6 or 12")])
def test_twins_need_whole_rows(size: int, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        OptimConfig(learning_rate=1e-3, batch_size=size)
    assert OptimConfig(learning_rate=1e-3, batch_size=size, twins=False).batch_size == size


@pytest.mark.parametrize("fields", [{}, {"recipe": "demo", "path": "x"}])
def test_data_comes_from_exactly_one_place(fields: dict[str, str]) -> None:
    config = presets.load("demo") | {"data": fields}
    with pytest.raises(ValidationError, match="exactly one of"):
        TrainConfig.model_validate(config)


def test_a_merged_mapping_may_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n")
    assert presets.load(str(path))["c"] == {"x": 3, "y": 4}


OPTIM = {"learning_rate": 1e-3}
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": -1},
        {"seed": 2**32},
        {"optim": OPTIM | {"epochs": INF}},
        {"optim": {"learning_rate": INF}},
        {"optim": OPTIM | {"weight_decay": NAN}},
        {"optim": OPTIM | {"max_grad_norm": INF}},
        {"loss": {"beta": INF}},
        {"loss": {"weights": {"detect": INF}}},
        {"loss": {"sharpness": {"detect": INF}}},
        {"model": {"base": "demo", "lora": {"dropout": NAN}}},
        {"evaluation": {"temperature": INF}},
        {"early_stop": {"max_loss": INF}},
    ],
)
def test_a_number_that_nothing_can_be_done_with_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        TrainConfig.model_validate(presets.load("demo") | fields)
    assert TrainConfig.model_validate(presets.load("demo") | {"seed": 2**32 - 1}).seed == 2**32 - 1
