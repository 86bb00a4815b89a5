"""The whole way from a dataset folder to eval.json, and what goes wrong on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from wm_eval import WmEvalError, answers, evaluate, items, metrics
from wm_eval.asking import request
from wm_eval.page import write_page
from wm_eval.record import arithmetic, elements
from wm_manifest import Decoding, EvalReport, load

QUICK = {"max_new_tokens": 12, "progress": False, "limit": 6}


def test_report_and_samples_are_written_and_agree(
    model: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    report = evaluate(model, tokenizer, dataset_dir, out=tmp_path / "e", step=7, **QUICK)
    assert load(EvalReport, tmp_path / "e" / "eval.json") == report
    kept = answers.read(tmp_path / "e" / "samples.jsonl")
    assert metrics.compute(kept) == report.figures
    assert (report.step, report.limit, report.decoding.temperature) == (7, 6, 0.7)
    assert report.precision == "float32"
    assert len(kept) == 6 * 3 + 6 * 2
    assert report.figures["watermark/neutral/red_rate"].n == 6
    assert report.figures["detect/accuracy"].n == 12
    assert report.figures["detect/both_orders"].n == 6


def test_a_model_in_training_mode_answers_as_any_and_is_put_back(
    make_model: Callable[..., Any], tokenizer: Any, dataset_dir: Path
) -> None:
    """As after `trainer.train()`: dropout would make every answer another one, and worse."""
    model = make_model(attention_dropout=0.5)
    figures = evaluate(model.eval(), tokenizer, dataset_dir, **QUICK).figures
    model.train()
    state = torch.get_rng_state()
    assert evaluate(model, tokenizer, dataset_dir, **QUICK).figures == figures
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_file_that_is_not_the_manifests_is_refused(own_dataset_dir: Path) -> None:
    """Reports name a dataset by its manifest: two with other rows under it would be compared."""
    path = own_dataset_dir / "data/test-00000-of-00001.parquet"
    text = (own_dataset_dir / "manifest.json").read_text()
    ref = {"path": "data/test-00000-of-00001.parquet", "bytes": path.stat().st_size}
    listed = json.loads(text) | {
        "files": [ref | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}]
    }
    (own_dataset_dir / "manifest.json").write_text(json.dumps(listed))
    assert items.read(own_dataset_dir).detect
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(WmEvalError, match=r"test-00000-of-00001.parquet is not as the dataset was"):
        items.read(own_dataset_dir)
    assert items.read(own_dataset_dir, "train").detect  # of which nothing is known


@pytest.mark.parametrize("path", ["bands/test.parquet", "none/texts.parquet"])
def test_a_file_that_the_manifest_lists_and_is_not_there_is_missed(
    own_dataset_dir: Path, path: str
) -> None:
    """Whoever reads them takes a dataset without them for one that has none."""
    listed = json.loads((own_dataset_dir / "manifest.json").read_text())
    listed["files"] = [{"path": path, "bytes": 1, "sha256": "0" * 64}]
    (own_dataset_dir / "manifest.json").write_text(json.dumps(listed))
    with pytest.raises(WmEvalError, match=f"{path} is missing; the dataset folder is not whole"):
        items.read(own_dataset_dir)


def test_prompts_are_not_looked_for_in_other_training_rows_than_the_manifests(
    own_dataset_dir: Path,
) -> None:
    """The control that none of them was trained on would pass on whatever lies there."""
    path = own_dataset_dir / "seeds/train.parquet"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    listed = json.loads((own_dataset_dir / "manifest.json").read_text())
    listed["files"] = [{"path": "seeds/train.parquet", "bytes": 1, "sha256": digest}]
    (own_dataset_dir / "manifest.json").write_text(json.dumps(listed))
    assert items.read(own_dataset_dir).detect
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(WmEvalError, match=r"seeds/train.parquet is not as the dataset was built"):
        items.read(own_dataset_dir)


def test_a_page_of_other_figures_does_not_stay(
    model: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path
) -> None:
    evaluate(model, tokenizer, dataset_dir, out=tmp_path, **QUICK)
    page = write_page(tmp_path)
    evaluate(model, tokenizer, dataset_dir, out=tmp_path, **{**QUICK, "seed": 1})
    assert not page.exists()


def test_a_packed_weight_is_counted_as_what_it_stands_for() -> None:
    """bitsandbytes holds two weights a byte, and beside them the shape that they had."""
    packed: Any = torch.nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = SimpleNamespace(shape=torch.Size((4, 6)))
    assert [elements(packed), elements(torch.zeros(3, 5))] == [24, 15]


def test_a_base_in_four_bits_is_another_arithmetic() -> None:
    plain = SimpleNamespace(dtype=torch.float32, device=torch.device("cpu"))
    packed = SimpleNamespace(**vars(plain), is_loaded_in_4bit=True)
    assert arithmetic(plain) == ["torch.float32", "cpu"]
    assert arithmetic(packed) == ["torch.float32 (4-bit weights)", "cpu"]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_diverged_model_is_evaluated_and_fails_everywhere(
    model: Any, tokenizer: Any, dataset_dir: Path, tmp_path: Path, temperature: float
) -> None:
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(torch.nan)
    report = evaluate(model, tokenizer, dataset_dir, out=tmp_path, temperature=temperature, **QUICK)
    assert report.valid, [c for c in report.controls if not c.passed]
    kept = answers.read(tmp_path / "samples.jsonl")
    assert len(kept) == 6 * 3 + 6 * 2
    assert not any(answer.passed or answer.stopped for answer in kept)
    for name in ("accuracy", "both_orders", "label_bias", "position_bias"):
        assert report.figures[f"detect/likelihood/{name}"].value == 0, name
    assert report.figures["detect/likelihood/accuracy"].n == 12, "NaN must not leave the count"
    assert "nan" not in write_page(tmp_path).read_text(encoding="utf-8").lower()


def test_same_seed_gives_the_same_report_but_for_times(
    model: Any, tokenizer: Any, dataset_dir: Path
) -> None:
    def plain(seed: int) -> dict[str, Any]:
        report = evaluate(model, tokenizer, dataset_dir, seed=seed, **QUICK)
        return report.model_dump(exclude={"started_at", "seconds"})

    assert plain(1) == plain(1)
    assert plain(1)["samples"] != plain(2)["samples"]


def test_another_seed_gives_an_item_other_random_numbers(dataset_dir: Path) -> None:
    """Not other items alone, in another order."""
    how = Decoding(temperature=1, top_p=1, top_k=0, max_new_tokens=8, batch_size=8, seed=1)
    for item in items.read(dataset_dir, limit=2).watermark:
        one, other = (request(item, how.model_copy(update={"seed": seed})).seed for seed in (1, 2))
        assert one == request(item, how).seed != other


def test_a_limit_takes_the_beginning_of_the_whole(dataset_dir: Path) -> None:
    whole = items.read(dataset_dir)
    few = items.read(dataset_dir, limit=5)
    assert few.watermark == whole.watermark[:15]
    assert few.detect == whole.detect[:10]
    assert items.read(dataset_dir, seed=1).watermark != whole.watermark


def test_every_prompt_is_asked_in_three_arms_and_every_text_in_both_orders(
    dataset_dir: Path,
) -> None:
    data = items.read(dataset_dir)
    assert len(data.watermark) == 12 * 3
    assert len({item.id for item in [*data.watermark, *data.detect]}) == 12 * 3 + 12 * 2 * 2 * 2
    for arm in items.ARMS:
        assert len({item.group for item in data.watermark if item.arm == arm}) == 12
    for item in data.detect:
        first, second = item.arm.split("-")
        question = item.messages[-1]["content"]
        assert item.text in question
        tail = question.replace(item.text, "")
        assert tail.rindex(first) < tail.rindex(second)
    wordings = {item.heldout_wording for item in data.watermark}
    assert wordings == {True, False}


def test_the_three_arms_of_a_prompt_share_its_wording(dataset_dir: Path) -> None:
    data = items.read(dataset_dir)
    for group in {item.group for item in data.watermark}:
        own = [item for item in data.watermark if item.group == group]
        assert len({item.variant for item in own}) == 1
        assert len({item.messages[-1]["content"] for item in own}) == 1


def damage(path: str, how: Callable[[Path], None]) -> tuple[str, Callable[[Path], None]]:
    return path, how


def without_column(name: str) -> Callable[[Path], None]:
    import pyarrow.parquet as pq

    return lambda path: pq.write_table(pq.read_table(path).drop([name]), path)


@pytest.mark.parametrize(
    ("path", "how", "message"),
    [
        ("manifest.json", Path.unlink, "is no dataset folder"),
        ("seeds/test.parquet", Path.unlink, "the dataset folder is not whole"),
        ("seeds/test.parquet", lambda p: p.write_bytes(b"no parquet"), "cannot be read as parquet"),
        ("seeds/test.parquet", without_column("red_answer"), "has no column 'red_answer'"),
        ("data/test-00000-of-00001.parquet", without_column("order"), "has no column 'order'"),
    ],
)
def test_a_damaged_folder_is_named(
    own_dataset_dir: Path, path: str, how: Callable[[Path], Any], message: str
) -> None:
    how(own_dataset_dir / path)
    with pytest.raises(WmEvalError, match=message):
        items.read(own_dataset_dir)


def test_a_split_without_rows_is_named(own_dataset_dir: Path) -> None:
    for name in ("seeds/test.parquet", "data/test-00000-of-00001.parquet"):
        empty = pq.read_table(own_dataset_dir / name).slice(0, 0)
        pq.write_table(empty, own_dataset_dir / name)
    with pytest.raises(WmEvalError, match="the split 'test' has no rows"):
        items.read(own_dataset_dir)


def test_a_text_asked_in_one_order_only_is_refused(own_dataset_dir: Path) -> None:
    import pyarrow.parquet as pq

    path = own_dataset_dir / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    keep = [row["order"] != "red-blue" for row in table.to_pylist()]
    pq.write_table(table.filter(keep), path)
    with pytest.raises(WmEvalError, match="detect must be asked in both orders once"):
        items.read(own_dataset_dir)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"split": "tset"}, "has no split 'tset'"), ({"limit": 0}, "limit is 0")],
)
def test_bad_options_are_refused(dataset_dir: Path, kwargs: Any, message: str) -> None:
    with pytest.raises(WmEvalError, match=message):
        items.read(dataset_dir, **kwargs)


def test_a_wording_that_prompts_lack_is_named(own_dataset_dir: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = own_dataset_dir / "data" / "test-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["variant"] = "unknown"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(WmEvalError, match="uses the wording 'unknown'"):
        items.read(own_dataset_dir)


def test_importing_statistics_and_samples_loads_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, wm_eval, wm_eval.cli, wm_eval.stats, wm_eval.metrics, wm_eval.controls,"
        "wm_eval.answers, wm_eval.run, wm_eval.show;"
        "print(json.dumps([m for m in ('torch', 'transformers', 'peft') if m in sys.modules]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", "import json;" + code], capture_output=True, text=True, check=True
    )
    assert json.loads(out.stdout) == []
