"""No folder of the machine that trained is published, and no other text is changed."""

from __future__ import annotations

import json

import pytest

from wm_manifest import (
    Attempt,
    DatasetUse,
    EvalReport,
    FileRef,
    GitState,
    Hardware,
    ModelRef,
    Piece,
    RunManifest,
    SourceRef,
    Stack,
    WandbRef,
    load,
    save,
)
from wm_publish import publish
from wm_publish.public import public_manifest, public_report, without_folders

HOME = "/home/someone"
LEAKS = (b"someone", b"private-place")
HUB = ModelRef(location="Qwen/Qwen3-0.6B", revision="c" * 40)


def source(kind, location):
    files = [FileRef(path=f"{HOME}/data/rows.jsonl", bytes=1, sha256="0" * 64)]
    return SourceRef(id="s", kind=kind, location=location, files=files, rows_read=1, rows_kept=1)


def fields(base):
    """What a manifest says when its run was given nothing but absolute paths."""
    return {
        "command": [
            f"{HOME}/bin/wm-train",
            "--preset=demo",
            *("--model.base", base.location),
            f"--runs-dir={HOME}/my runs/wm",
            *("--data.path", "~/private-place/rows"),
            *("--model", json.dumps({"base": f"{HOME}/a b/c", "other": "C:\\private-place\\d"})),
        ],
        "preset": f"{HOME}/private-place/mine.yaml",
        "config": {
            "model": {"base": base.location, "lora": {"r": 4}},
            "data": {"path": f"{HOME}/rows", "recipe": ["../../private-place/mix.yaml"]},
            "home": HOME,
        },
        "base": base,
        "dataset": DatasetUse(
            name="demo",
            path=f"{HOME}/runs/x/dataset",
            manifest_sha256="0" * 64,
            recipe={"sources": [{"id": "s", "file": f"{HOME}/data/*.jsonl"}, {"hub": "me/rows"}]},
            seed=0,
            sources=[source("file", f"{HOME}/data/*.jsonl"), source("hub", "me/rows")],
            splits={},
            dropped={},
        ),
        "wandb": WandbRef(
            id="a",
            project="wm",
            entity=None,
            mode="offline",
            url=None,
            sync_command=f"wandb sync {HOME}/runs/x/wandb/offline-run-1",
        ),
        "sharing_refused": f"it fails with RuntimeError: {HOME}/private-place/kernels.cu",
        "attempts": [
            Attempt(
                started_at="x",
                cause=f"OSError: [Errno 2] No such file: '{HOME}/a b/c.json'",
                stack=Stack(
                    command=[f"{HOME}/bin/wm-train", "--runs-dir", f"{HOME}/private-place/runs"],
                    git=GitState(commit=None, dirty=False),
                    lock_sha256=None,
                    packages={},
                    python="3.11.9",
                    hardware=Hardware(platform="x", cpu="x", cores=1, memory_gib=1.0),
                ),
            ),
            Attempt(started_at="x", cause=f"no room in {HOME}/my private-place/runs/a: key-{HOME}"),
            Attempt(started_at="x", cause=f"see <-{HOME}/x and <{HOME}/y>, sub-~/private-place/z"),
        ],
    }


@pytest.fixture
def staged(make_run, monkeypatch):
    """Lay a release ready; give back the bytes of each of its files."""

    def stage(base, output, adapter_base=None):
        run = make_run(output=output, files=[], **fields(base))
        path = run / "eval/step-000300/eval.json"
        model = base.model_copy(update={"adapter": f"{HOME}/runs/x/adapter"})
        report = load(EvalReport, path).model_copy(update={"model": model, "base": base})
        save(report, path)
        if adapter_base:
            config = {"base_model_name_or_path": adapter_base, "r": 4}
            (run / "adapter/adapter_config.json").write_text(json.dumps(config))
        if output == "adapter" and not base.revision:
            (run / "base").mkdir()
            for name in ("config.json", "model.safetensors"):
                (run / "base" / name).write_bytes(bytes(8) + b"{}")
        monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
        folder = publish(run).staged
        return {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file()
        }

    return stage


LOCAL = ModelRef(location=f"{HOME}/runs/x/base")
CASES = {
    "full model, local base": (ModelRef(location=f"{HOME}/mybase", revision="x"), "model", None),
    "full model, hub base": (HUB, "model", None),
    "adapter, base in the run": (LOCAL, "adapter", LOCAL.location),
    "adapter, hub base": (HUB, "adapter", HUB.location),
    "adapter, hub base from a cache": (HUB, "adapter", f"{HOME}/.cache/snapshots/c"),
}


@pytest.mark.parametrize("case", CASES)
def test_no_published_file_names_a_folder_of_this_machine(staged, case):
    base, output, adapter_base = CASES[case]
    files = staged(base, output, adapter_base)
    found = [(name, leak) for name, text in files.items() for leak in LEAKS if leak in text]
    assert found == []
    manifest = RunManifest.model_validate_json(files["wm_manifest.json"])
    report = EvalReport.model_validate_json(files["eval.json"])
    assert manifest.dataset.sources[1].location == "me/rows"
    assert manifest.dataset.sources[0].location == "*.jsonl"
    assert b"[`me/rows`](https://huggingface.co/datasets/me/rows" in files["README.md"]
    assert "--runs-dir=wm" in manifest.command
    assert manifest.preset == "mine.yaml"
    assert [attempt.cause for attempt in manifest.attempts] == [
        "OSError: [Errno 2] No such file: 'c.json'",
        "no room in a: key-~",
        "see <-x and <y>, sub-z",
    ]
    assert manifest.sharing_refused == "it fails with RuntimeError: kernels.cu"
    assert report.model.adapter == "adapter"
    if base == HUB:
        assert manifest.base == HUB
        assert manifest.config["model"]["base"] == report.model.location == HUB.location
        assert b"base_model: Qwen/Qwen3-0.6B" in files["README.md"]
    else:
        assert manifest.base.revision is None
        assert b"\nbase_model:" not in files["README.md"]
    if output == "adapter":
        named = json.loads(files["adapter_config.json"])["base_model_name_or_path"]
        assert named == ("base" if base == LOCAL else HUB.location)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/someone/models/base/", "base"),
        ("file:///home/someone/base", "base"),
        (r"\\server\someone\base", "base"),
        ("C:/Users/someone", "~"),
        ("~someone", "~"),
        ("/home/someone", "~"),
        ("-o/home/someone/out", "-oout"),
        ("PYTHONPATH=/home/someone/a:/home/someone/b", "PYTHONPATH=a:b"),
        ("[/home/someone/a, ~/b/c]", "[a, c]"),
        ("key-/home/someone/p", "key-p"),
        ("see <-/home/someone/x", "see <-x"),
        ("x-C:\\Users\\someone\\p", "x-p"),
        ("run in /home/someone/my old runs/base failed", "run in base failed"),
        ("OSError: /home/someone/my dir/a/b.txt: bad", "OSError: b.txt: bad"),
        ("at C:\\Users\\someone else\\x now", "at x now"),
        ("cp /home/someone/a/x /home/someone/b/y --to c/d", "cp x y --to c/d"),
    ],
)
def test_path_is_cut_to_its_last_name(text, expected):
    assert without_folders(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("Qwen/Qwen3-0.6B", "runs/demo/base", "demo", "--seed", "--a.b=c/d", "0.5", "", "~5 %"),
        *("https://huggingface.co/Qwen/Qwen3-0.6B", "and/or", "1 / 2", "a: b", "<b>x</b>"),
        *("./rows.jsonl", "hf://datasets/me/rows", "12:30", "a//b"),
        *("<b>x</b> and </details> a/b", "1 / 2 a/b", "well-/badly", "hf-s://a/b", "a</b></i>"),
    ],
)
def test_other_text_stays(text):
    assert without_folders(text) == text


def test_what_is_public_is_public_already(make_manifest):
    once = public_manifest(make_manifest(**fields(LOCAL)))
    assert public_manifest(once) == once


def test_record_without_paths_stays_as_it_is(make_manifest, make_run):
    manifest = make_manifest(base=HUB)
    assert public_manifest(manifest) == manifest
    report = load(EvalReport, make_run() / "eval/step-000300/eval.json")
    assert public_report(report) == report


KEYS = {
    "a password in a URL": ("postgres://me:pass-1234@", "postgres://me:pass-1234@localhost/db"),
    "a token": ("hf_" + "Ab1" * 10, "hf_" + "Ab1" * 10),
}


@pytest.mark.parametrize("where", ["system", "prompt", "answer", "pieces"])
@pytest.mark.parametrize("kind", KEYS)
def test_a_key_in_a_sample_is_hidden_and_does_not_stop_a_release(
    make_run, monkeypatch, kind, where
):
    """Prompts are other people's, and those of programmers show how to log in."""
    key, text = KEYS[kind]
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    run = make_run(output="model")
    manifest = load(RunManifest, run / "manifest.json")
    half = len(text) // 2
    pieces = [Piece(text=text[:half], colour="red"), Piece(text=text[half:], colour="blue")]
    value = pieces if where == "pieces" else f"So: {text}"
    sample = manifest.samples[0].model_copy(update={where: value})
    others = manifest.samples[1:]
    save(manifest.model_copy(update={"samples": [sample, *others]}), run / "manifest.json")
    path = run / "eval/step-000300/eval.json"
    report = load(EvalReport, path)
    save(report.model_copy(update={"samples": [sample, *others]}), path)
    folder = publish(run).staged
    for name in ("README.md", "wm_manifest.json", "eval.json"):
        assert key not in (folder / name).read_text()
    shown = load(EvalReport, folder / "eval.json").samples
    assert shown[1:] == others
    assert shown[0].pieces == []
    assert "<redacted>" in shown[0].model_dump_json() or where == "pieces"
