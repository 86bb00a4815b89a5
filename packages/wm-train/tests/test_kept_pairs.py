"""Tokenised pairs are made once in the life of a run, and never those of anything else."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from transformers import AutoTokenizer

import wm_data
import wm_publish
from wm_manifest import RunManifest, TemplateRef, load
from wm_train import columns, examples, follow, kept_pairs, preflight, run
from wm_train.config import TrainConfig
from wm_train.errors import DataError
from wm_train.record import dataset_use

LIMIT = 120  # tokens: some rows are longer


@pytest.fixture
def tokenizer(base_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture
def manifest(make_manifest: Callable[..., RunManifest], dataset_dir: Path) -> RunManifest:
    dataset = wm_data.read(dataset_dir).manifest
    return make_manifest(
        dataset=dataset_use(dataset, dataset_dir, dataset_dir.parent),
        templates=dataset.templates,
        tokenizer_sha256="a" * 64,
        chat_template_sha256="b" * 64,
    )


@pytest.fixture
def make(dataset_dir: Path, tokenizer: Any) -> Any:
    """What tokenises the rows into a file, and how often it was asked to."""
    split = wm_data.read(dataset_dir).stream("train")

    def tokenize(path: Path) -> examples.Pairs:
        tokenize.calls += 1
        return examples.tokenize(split, tokenizer, LIMIT, neutral_share=0.5, path=path)

    tokenize.calls = 0
    return tokenize


def brought(folder: Path, key: kept_pairs.Key, make: Any, batch_size: int = 1) -> examples.Pairs:
    return kept_pairs.bring(folder, key, batch_size, make)


def test_what_is_kept_is_what_was_made(
    tmp_path: Path, make: Any, dataset_dir: Path, tokenizer: Any
) -> None:
    split = wm_data.read(dataset_dir).examples("train")
    fresh = examples.tokenize(split, tokenizer, LIMIT, neutral_share=0.5)
    assert fresh.too_long
    key = {"format": 1}
    for calls in (1, 1):
        kept = brought(tmp_path, key, make)
        assert kept.data[:] == fresh.data[:]
        assert kept.data.features == fresh.data.features
        assert (kept.too_long, kept.longest) == (fresh.too_long, fresh.longest)
        assert make.calls == calls
    assert kept_pairs.read(tmp_path).data[:] == fresh.data[:]


def test_what_is_kept_is_mapped_and_not_read(tmp_path: Path, make: Any) -> None:
    brought(tmp_path, {}, make)
    before = pa.total_allocated_bytes()
    pairs = brought(tmp_path, {}, make).data
    assert columns.sequences(pairs).max() <= LIMIT
    assert pa.total_allocated_bytes() - before < pairs.data.nbytes / 10


def without_tokens(tokenizer: Any) -> Any:
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ '<|endoftext|>' }}"
    return tokenizer


def other_special(tokenizer: Any) -> Any:
    tokenizer.bos_token = "<|im_start|>"
    return tokenizer


CHANGES: dict[str, Callable[..., dict[str, Any]]] = {
    "dataset": lambda m, t: {
        "manifest": m.model_copy(
            update={"dataset": m.dataset.model_copy(update={"manifest_sha256": "c" * 64})}
        )
    },
    "prompts' text": lambda m, t: {
        "manifest": m.model_copy(
            update={"templates": [*m.templates, TemplateRef(id="x", text="y", sha256="d" * 64)]}
        )
    },
    "tokenizer": lambda m, t: {"manifest": m.model_copy(update={"tokenizer_sha256": "e" * 64})},
    "chat template": lambda m, t: {
        "manifest": m.model_copy(update={"chat_template_sha256": "e" * 64})
    },
    "special tokens": lambda m, t: {"tokenizer": other_special(t)},
    "end of a turn": lambda m, t: {"tokenizer": without_tokens(t)},
    "data.max_tokens": lambda m, t: {"max_tokens": LIMIT + 1},
    "share of neutral prompts": lambda m, t: {"neutral_share": 0.25},
}


@pytest.mark.parametrize("part", CHANGES)
def test_pairs_of_anything_else_are_made_anew(
    part: str,
    manifest: RunManifest,
    tokenizer: Any,
    make: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    of = {"manifest": manifest, "max_tokens": LIMIT, "neutral_share": 0.5}
    first = kept_pairs.key(tokenizer=tokenizer, **of)
    brought(tmp_path, first, make)
    brought(tmp_path, kept_pairs.key(tokenizer=tokenizer, **of), make)
    assert (make.calls, caplog.text) == (1, "")
    changed = {"tokenizer": tokenizer, **of} | CHANGES[part](manifest, tokenizer)
    other = kept_pairs.key(**changed)
    assert [name for name in first if first[name] != other[name]] == [part]
    brought(tmp_path, other, make)
    assert make.calls == 2
    assert f"rows are tokenised again: made with another {part}\n" in caplog.text


@pytest.mark.parametrize(
    ("part", "what", "value"),
    [
        ("format", "FORMAT", 2),
        ("code", "CODE", (examples,)),
        ("version of tokenizers", "metadata", None),
    ],
)
def test_other_code_makes_them_anew(
    part: str,
    what: str,
    value: Any,
    manifest: RunManifest,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = kept_pairs.key(manifest, tokenizer, LIMIT, 0.5)
    if what == "metadata":
        known = kept_pairs.metadata.version
        of = {"tokenizers": "0.0.1"}
        monkeypatch.setattr(kept_pairs.metadata, "version", lambda n: of.get(n) or known(n))
    else:
        monkeypatch.setattr(kept_pairs, what, value)
    other = kept_pairs.key(manifest, tokenizer, LIMIT, 0.5)
    assert [name for name in first if first[name] != other[name]] == [part]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(content)


def edited(path: Path) -> None:
    about = json.loads(path.read_text("utf-8"))
    about["content"]["too_long"] = about["content"]["too_long"][1:]
    path.write_text(json.dumps(about), "utf-8")


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("pairs.arrow", flipped, "pairs.arrow has other content than was written"),
        ("pairs.arrow", lambda p: p.write_bytes(p.read_bytes()[:-8]), "bytes, not"),
        ("pairs.arrow", lambda p: p.write_bytes(b""), "pairs.arrow has 0 bytes, not"),
        ("pairs.arrow", Path.unlink, "pairs.arrow is missing"),
        ("pairs.json", edited, "pairs.json has other content than was written"),
        ("pairs.json", lambda p: p.write_text("{"), "pairs.json cannot be read (JSONDecodeError)"),
        ("pairs.json", lambda p: p.write_text("[]"), "pairs.json cannot be read (TypeError)"),
        ("pairs.json", Path.unlink, "pairs.json is missing"),
    ],
)
def test_damaged_pairs_are_made_anew(
    name: str,
    damage: Callable[[Path], Any],
    said: str,
    make: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = brought(tmp_path, {}, make).data[:]
    damage(tmp_path / "pairs" / name)
    assert brought(tmp_path, {}, make).data[:] == whole
    assert make.calls == 2
    assert "the rows are tokenised again: " in caplog.text
    assert said in caplog.text


def test_what_is_half_made_is_neither_used_nor_left(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def killed(path: Path) -> examples.Pairs:
        make(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        brought(tmp_path, {}, killed)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / kept_pairs.STAGING).mkdir()  # SIGKILL leaves it
    (tmp_path / kept_pairs.STAGING / "pairs.arrow").write_bytes(b"half")
    brought(tmp_path, {}, make)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
    assert caplog.text == ""


def test_too_few_for_a_step_are_refused_when_they_are_kept_too(make: Any, tmp_path: Path) -> None:
    brought(tmp_path, {}, make)
    with pytest.raises(DataError, match="do not fill one batch of 100,000"):
        brought(tmp_path, {}, make, batch_size=100_000)


def test_a_run_that_goes_on_tokenises_nothing_and_says_the_same(
    tiny: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tiny(data={"max_tokens": LIMIT}, tracking={"mode": "disabled"}), tmp_path / "a"
    folder.mkdir()

    def started() -> list[str]:
        printed = StringIO()
        console = Console(file=printed, width=200)
        run.train(config, folder, "demo", ["wm-train"], console)
        return printed.getvalue().splitlines()

    def told(lines: list[str]) -> list[str]:
        return [line for line in lines if " pairs of " in line or "left out: " in line]

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(preflight, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(run, "say", lambda console, text, *style: None)
        patch.setattr(run.stages, "say", lambda console, text, *style: said.append(text))
        with pytest.raises(KeyboardInterrupt):
            started()
    kept = sorted(path.name for path in (folder / "pairs").iterdir())
    assert kept == ["pairs.arrow", "pairs.json"], "others write beside it"
    named = (folder / "left-out-rows.txt").read_text("utf-8")
    (folder / "left-out-rows.txt").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(examples, "tokenize", lambda *_: pytest.fail("tokenised again"))
        lines = started()
    assert told(lines) == told(said)
    assert len(told(said)) == 3  # with what was left out of the dataset
    assert (folder / "left-out-rows.txt").read_text("utf-8") == named
    assert load(RunManifest, folder / "manifest.json").rows_too_long == len(named.splitlines())
    assert not (folder / "pairs").exists(), "a run that has finished needs them no more"
    (folder / "pairs").mkdir()  # of one that was killed at its end
    (folder / "pairs/pairs.arrow").touch()
    sent = [ref.path for ref in wm_publish.plan(folder, "me/a").files]
    assert sent
    assert not [path for path in sent if "pairs" in path]
    started()
    assert not (folder / "pairs").exists()


def test_other_processes_tokenise_nothing() -> None:
    assert not hasattr(follow, "examples")
