"""What closes a run cannot be read as its opposite."""

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from wm_manifest import Control, Evaluation, RunManifest
from wm_train import summary

# whether it blocks -> the line of a control that failed
LINES = {
    False: "note; does not hold: neutral arm can serve as a null; found 1.0, expected below 0.6",
    True: "FAILED CONTROL, do not use these figures; does not hold: neutral arm can serve as a "
    "null; found 1.0, expected below 0.6",
}


@pytest.mark.parametrize("blocking", LINES)
def test_a_control_that_failed_does_not_read_as_if_it_held(
    blocking: bool, make_manifest: Callable[..., RunManifest]
) -> None:
    name = "neutral arm can serve as a null"
    failed = Control(name=name, passed=False, value=1.0, expected="below 0.6", blocking=blocking)
    held = failed.model_copy(update={"name": "texts are unmarked", "passed": True})
    first = Evaluation(step=0, path="eval/step-000000", valid=not blocking, figures={})
    manifest = make_manifest(controls=[failed, held], evaluations=[first])
    console = Console(width=200, record=True, file=StringIO())
    console.print(summary.closing(manifest))
    lines = console.export_text().splitlines()
    assert LINES[blocking] in [line.strip() for line in lines]
    assert not any(held.name in line for line in lines)
