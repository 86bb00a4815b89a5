"""Every shipped preset is valid; what a user can get wrong has one clear line."""

from pathlib import Path

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
