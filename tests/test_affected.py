"""Which packages CI tests after a change: themselves and whoever depends on them."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / ".ci/affected.py"
SPEC = importlib.util.spec_from_file_location("affected", PATH)
assert SPEC is not None
assert SPEC.loader is not None
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)

ALL = sorted(MODULE.homes())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], []),
        (["README.md", "docs/adr/0001.md"], []),
        (["packages/wm-publish/src/wm_publish/card.py"], ["wm-publish", "wm-train"]),
        (["packages/wm-score/README.md"], ["wm-data", "wm-eval", "wm-score", "wm-train"]),
        (["prompts/wm_prompts/__init__.py"], ["wm-data", "wm-eval", "wm-prompts", "wm-train"]),
        (["packages/wm-train/tests/test_run.py", "README.md"], ["wm-train"]),
        (["packages/wm-publish/tests/hub_server.py"], ALL),
        (["uv.lock"], ALL),
        (["pyproject.toml"], ALL),
        ([".ci/run"], ALL),
    ],
)
def test_dependants_are_tested_too(changed: list[str], expected: list[str]) -> None:
    assert MODULE.affected(changed) == expected
