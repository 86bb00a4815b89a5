"""samples.parquet says what samples.jsonl says, column by documented column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from wm_eval import answers, samples_table
from wm_eval.answers import Answer
from wm_eval.generator import Likelihood

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def folder(run_script: Callable[..., Any], gold: Callable[..., str], tmp_path: Path) -> Path:
    base = (lambda request: "Hello there", lambda one: Likelihood(-1.5, 3))
    run_script(gold, base=base, out=tmp_path / "e")
    return tmp_path / "e"


def test_every_field_of_every_answer_comes_back(folder: Path) -> None:
    kept = answers.read(folder / "samples.jsonl")
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    assert {a.task for a in kept} == {"watermark", "detect"}
    assert {bool(a.base) for a in kept} == {True, False}
    for row, answer in zip(rows, kept, strict=True):
        options = {word: row.pop(f"log_p_{word}") for word in ("red", "blue")}
        row["options"] = {word: p for word, p in options.items() if p is not None}
        given = (row.pop("base_log_likelihood"), row.pop("base_tokens"))
        row["base"] = {} if given[0] is None else {"log_likelihood": given[0], "tokens": given[1]}
        assert Answer(**row) == answer


def test_log_probabilities_and_empty_fields(folder: Path, tmp_path: Path) -> None:
    kept = answers.read(folder / "samples.jsonl")
    one = next(a for a in kept if a.task == "detect").model_copy(
        update={"options": {"red": -0.25, "blue": -1.5}, "expected": None, "band": 50}
    )
    samples_table.write([one], tmp_path / "one.parquet")
    row = pq.read_table(tmp_path / "one.parquet").to_pylist()[0]
    assert (row["log_p_red"], row["log_p_blue"]) == (-0.25, -1.5)
    assert (row["expected"], row["band"]) == (None, 50)
    samples_table.write([], tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_the_same_answers_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    kept = answers.read(folder / "samples.jsonl")
    samples_table.write(kept, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (folder / "samples.parquet").read_bytes()
    assert not list(folder.glob(".*")), "a staging file was left"


def test_a_write_that_fails_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "samples.parquet").read_bytes()

    def full(table: Any, where: Path, **kwargs: Any) -> None:
        where.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="no space"):
        samples_table.write(answers.read(folder / "samples.jsonl"), folder / "samples.parquet")
    assert (folder / "samples.parquet").read_bytes() == before


def test_every_column_is_documented_in_the_readme_and_in_the_file(folder: Path) -> None:
    schema = pq.read_schema(folder / "samples.parquet")
    table = [line for line in README.read_text("utf-8").splitlines() if line.startswith("| `")]
    for field in schema:
        said = field.metadata[b"description"].decode()
        assert f"| `{field.name}` | {said} |" in table, f"README: {field.name}: {said}"
