"""What is saved comes back as it was, whatever its texts and numbers are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_manifest import Control, EvalReport, ManifestError, Record, RunManifest, load, save
from wm_manifest.evaluation import Piece, Sample
from wm_manifest.record import Estimate
from wm_manifest.schema import RECORDS

KINDS = list(RECORDS)
SPECIAL = [math.nan, math.inf, -math.inf]

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", "\n", "\r\n", "\x00", "\u2028", "\ufeff", '"\\', "🧅", "e\u0301", "NaN", "null"]
)
numbers = st.floats(allow_nan=False) | st.sampled_from([5e-324, 1.7976931348623157e308, -0.0, 0.1])
maybe = st.none() | numbers
estimates = st.builds(
    Estimate, value=maybe, low=maybe, high=maybe, n=st.integers(0, 10**40), n_groups=st.just(0)
)
samples = st.builds(
    Sample,
    arm=texts,
    system=st.none() | texts,
    prompt=texts,
    answer=texts,
    expected=st.none() | texts,
    verdict=texts,
    red_share=maybe,
    pieces=st.lists(st.builds(Piece, text=texts), max_size=3),
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | numbers.filter(math.isfinite)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests") / "manifest.json"


def through(record: Record, path: Path) -> Record:
    save(record, path)
    return load(type(record), path)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_comes_back_equal(
    kind: str, example: Callable[[str], Record], place: Path
) -> None:
    record = example(kind)
    assert through(record, place) == record


@pytest.mark.parametrize("kind", KINDS)
def test_saving_what_was_loaded_gives_the_same_bytes(
    kind: str, example: Callable[[str], Record], place: Path
) -> None:
    save(example(kind), place)
    first = place.read_bytes()
    save(load(RECORDS[kind], place), place)
    assert place.read_bytes() == first
    assert first.endswith(b"\n}\n")
    assert b"\r" not in first


@settings(deadline=None)  # each example is synced to a disk that others use
@given(record=estimates | samples)
def test_estimates_and_samples_come_back_equal(record: Record, place: Path) -> None:
    again = through(record, place)
    assert again == record
    assert repr(again) == repr(record)  # tells -0.0 from 0.0, and 1 from 1.0


@settings(deadline=None)
@given(config=st.dictionaries(texts, plain, max_size=4))
def test_any_plain_configuration_comes_back_equal(config: dict[str, Any], place: Path) -> None:
    base = load(RunManifest, Path(__file__).parent / "golden" / "run-1.json")
    record = base.model_copy(update={"config": config})
    assert repr(through(record, place)) == repr(record)


@settings(deadline=None)
@given(names=st.dictionaries(texts, estimates, max_size=3))
def test_any_name_of_a_figure_comes_back(names: dict[str, Estimate], place: Path) -> None:
    base = load(EvalReport, Path(__file__).parent / "golden" / "evaluation-1.json")
    record = base.model_copy(update={"figures": names})
    assert through(record, place) == record


# ------------------------------------------------------------------- numbers that JSON does not have


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_nan_and_infinity_of_an_estimate_come_back(value: float, field: str, place: Path) -> None:
    record = Estimate(**{"value": 0.5, "n": 3, field: value})
    again = through(record, place)
    assert repr(getattr(again, field)) == repr(value)


@pytest.mark.parametrize("value", SPECIAL)
def test_nan_and_infinity_of_a_control_come_back(value: float, place: Path) -> None:
    record = Control(name="x", passed=False, value=value, expected="at least 0.99")
    again = through(record, place)
    assert isinstance(again, Control)
    assert repr(again.value) == repr(value)


def test_files_with_nan_are_json_for_everyone(place: Path) -> None:
    save(Estimate(value=math.nan, low=-math.inf, n=3), place)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(place.read_text("utf-8"), parse_constant=refuse)
    assert (content["value"], content["low"]) == ("NaN", "-Infinity")


def test_nothing_measured_is_null_and_not_nan(place: Path) -> None:
    save(Estimate(value=None, n=0), place)
    assert json.loads(place.read_text("utf-8"))["value"] is None


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize(
    ("config", "where"),
    [
        (lambda v: {"lr": v}, "config.lr"),
        (lambda v: {"optim": {"betas": [0.9, v]}}, "config.optim.betas.1"),
        (lambda v: {"optim": ({"lr": 1.0}, {"lr": v})}, "config.optim.1.lr"),
    ],
)
def test_nan_where_anything_may_stand_is_refused(
    value: float, config: Callable[[float], dict[str, Any]], where: str, example: Any, place: Path
) -> None:
    record = example("run").model_copy(update={"config": config(value)})
    with pytest.raises(ManifestError) as caught:
        save(record, place)
    assert f"{place}: {where}: not written" in str(caught.value)


def test_text_nan_where_anything_may_stand_stays_text(example: Any, place: Path) -> None:
    record = example("run").model_copy(update={"config": {"note": "NaN"}})
    assert through(record, place) == record
