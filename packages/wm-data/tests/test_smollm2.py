"""SmolLM2-135M from the package that holds it: what is written, and what is said when it cannot be."""

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import wm_data
from wm_data import smollm2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return wm_data.smollm2_135m(tmp_path_factory.mktemp("models") / "smollm2-135m")


def test_importing_wm_data_loads_no_torch_and_no_transformers():
    code = "import sys, wm_data; print({'torch', 'transformers', 'gguf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", smollm2.NEEDED)
def test_a_missing_package_says_what_installs_it(tmp_path, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        smollm2, "find_spec", lambda module: None if module == name else find(module)
    )
    with pytest.raises(wm_data.WmDataError, match=rf"needs {name}; uv sync"):
        wm_data.smollm2_135m(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "has no SmolLM2"), (b"x", "has SHA-256 2d7116")]
)
def test_another_package_of_that_name_is_refused(tmp_path, monkeypatch, content, message):
    if content:
        (tmp_path / smollm2.GGUF).write_bytes(content)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(smollm2, "find_spec", lambda _: spec)
    with pytest.raises(wm_data.WmDataError, match=message):
        wm_data.smollm2_135m(tmp_path / "out")
    assert not (tmp_path / "out").exists()


RECORD = {"sha256": smollm2.GGUF_SHA256, "files": {}}


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[]",
        json.dumps({**RECORD, "sha256": "0" * 64}),
        json.dumps({**RECORD, "files": {"model.safetensors": "0" * 64}}),
        json.dumps({**RECORD, "files": {"notes.txt": "0" * 64}}),
    ],
    ids=["half", "no object", "another model", "file missing", "file changed"],
)
def test_a_folder_that_was_changed_is_refused_and_kept(tmp_path, record):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "source.json").write_text(record)
    with pytest.raises(wm_data.WmDataError, match="remove the folder to make it anew"):
        wm_data.smollm2_135m(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_two_processes_may_make_it_at_once(tmp_path, monkeypatch):
    """The one that comes second finds the other's, and takes it."""
    out = tmp_path / "model"

    def convert(_, staging):
        (staging / "model.safetensors").write_bytes(b"ours")
        out.mkdir()
        (out / "model.safetensors").write_bytes(b"theirs")
        smollm2._write_record(out)

    monkeypatch.setattr(smollm2, "_gguf", lambda: tmp_path / smollm2.GGUF)
    monkeypatch.setattr(smollm2, "_convert", convert)
    assert wm_data.smollm2_135m(out) == out
    assert (out / "model.safetensors").read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(wm_data.WmDataError, match="exists already"):
        wm_data.smollm2_135m(tmp_path)


@pytest.mark.slow
def test_it_is_a_chat_model_that_ends_its_turn(folder):
    code = """if True:
        import sys, transformers
        model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
        tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**ids, max_new_tokens=40, do_sample=False)
        print(tokenizer.decode(out[0, ids["input_ids"].shape[1]:]))
    """
    # Another process, without the package's folder: nothing of the GGUF is needed any more.
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert "Paris" in done.stdout
    assert done.stdout.strip().endswith("<|im_end|>")


@pytest.mark.slow
def test_the_folder_says_what_it_is(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json",
        "model.safetensors", "source.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float32"
    assert (folder / "README.md").read_text().startswith("---\nlicense: apache-2.0\n")
    record = json.loads((folder / "source.json").read_text())
    assert set(record["files"]) == names - {"source.json"}
    assert record["sha256"] == smollm2.GGUF_SHA256


@pytest.mark.slow
def test_it_is_made_once_and_the_same_again(folder, tmp_path):
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert wm_data.smollm2_135m(folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    again = wm_data.smollm2_135m(tmp_path / "again")
    assert (again / "source.json").read_bytes() == (folder / "source.json").read_bytes()
    with (again / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(wm_data.WmDataError, match="remove the folder"):
        wm_data.smollm2_135m(again)
