"""The command: exit codes, messages, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from wm_eval import WmEvalError
from wm_eval.adapters import adapter_config
from wm_eval.cli import main
from wm_manifest import EvalReport, load

# peft 0.21 asks transformers for an attribute under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def model_dir(tmp_path: Path, make_model: Callable[..., Any], tokenizer: Any) -> Path:
    folder = tmp_path / "model"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter_dir(tmp_path: Path, model_dir: Path, make_model: Callable[..., Any]) -> Path:
    from peft import LoraConfig, get_peft_model

    model = make_model()
    model.name_or_path = str(model_dir)  # PEFT reads it here, and not in the model's config
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    assert made_for(tmp_path / "adapter") == str(model_dir)
    return tmp_path / "adapter"


def made_for(adapter: Path, base: str | None = None) -> str:
    """The base that an adapter's configuration names, after `base` was put there if it is given."""
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    if base is not None:
        config["base_model_name_or_path"] = base
        path.write_text(json.dumps(config))
    return config["base_model_name_or_path"]


def run(capsys: pytest.CaptureFixture[str], *tokens: Any) -> tuple[int, str, str]:
    capsys.readouterr()  # what saving the fixtures' models printed
    with pytest.raises(SystemExit) as stop:
        main([str(token) for token in tokens])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_a_model_folder_is_evaluated(
    capsys: pytest.CaptureFixture[str], model_dir: Path, dataset_dir: Path, tmp_path: Path
) -> None:
    code, out, err = run(
        capsys, "--model", model_dir, "--data", dataset_dir, "--limit", 3,
        "--max-new-tokens", 8, "--out", tmp_path / "e", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "Loading weights" not in err  # no bar of transformers, where stderr is no terminal
    assert "watermark/red/success" in out
    assert "detect/both_orders" in out
    assert (tmp_path / "e" / "eval.json").is_file()
    assert (tmp_path / "e" / "samples.jsonl").is_file()


def test_an_adapter_is_put_on_its_base(
    capsys: pytest.CaptureFixture[str], model_dir: Path, adapter_dir: Path, dataset_dir: Path
) -> None:
    code, _, err = run(
        capsys, "--model", model_dir, "--adapter", adapter_dir, "--data", dataset_dir,
        "--limit", 2, "--max-new-tokens", 4, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "was trained on other weights" not in err


@pytest.mark.parametrize(("named", "told"), [(True, True), (False, False)])
def test_an_adapter_on_other_weights_than_its_configuration_names_is_told(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    base_dir: Path,
    adapter_dir: Path,
    dataset_dir: Path,
    named: bool,
    told: bool,
) -> None:
    """The same shapes, other weights: whoever names no base cannot be told of another one."""
    if not named:
        made_for(adapter_dir, "")
    code, _, err = run(
        capsys, "--model", base_dir, "--adapter", adapter_dir, "--data", dataset_dir,
        "--limit", 2, "--max-new-tokens", 4, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert ("was trained on other weights" in caplog.text) == told


@pytest.mark.parametrize(
    ("named", "model", "refused"),
    [
        ("me/one", "me/two", True),
        ("me/one", "me/one", False),
        ("/moved/one", "me/one", False),
        ("", "me/one", False),
    ],
)
def test_an_adapter_of_another_base_of_the_hub_is_refused_by_name(
    adapter_dir: Path, named: str, model: str, refused: bool
) -> None:
    made_for(adapter_dir, named)
    with nullcontext() if not refused else pytest.raises(WmEvalError) as error:
        adapter_config(str(adapter_dir), model)
    if refused:
        assert f"was made for {named}, not for {model}; give --model {named}" in str(error.value)


@pytest.mark.filterwarnings("error:Model has `tie_word_embeddings=True`")
def test_an_adapter_on_a_tied_head_is_put_on_and_taken_off(
    capsys: pytest.CaptureFixture[str],
    model_dir: Path,
    make_model: Callable[..., Any],
    dataset_dir: Path,
    tmp_path: Path,
) -> None:
    from peft import LoraConfig, get_peft_model

    ends = ["q_proj", "lm_head", "embed_tokens"]
    model = make_model()
    model.name_or_path = str(model_dir)
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        adapted = get_peft_model(
            model, LoraConfig(r=2, target_modules=ends, init_lora_weights=False)
        )
    adapted.save_pretrained(tmp_path / "ends", save_embedding_layers=False)
    common = ("--model", model_dir, "--data", dataset_dir, "--limit", 2, "--device", "cpu")
    short = ("--max-new-tokens", 4)
    answers: dict[str, dict[str, str]] = {}
    figures: dict[str, dict[str, Any]] = {}
    for name, more in {"adapted": ("--adapter", tmp_path / "ends"), "plain": ()}.items():
        code, _, err = run(capsys, *common, *short, *more, "--out", tmp_path / name)
        assert code == 0, err
        report = json.loads((tmp_path / name / "eval.json").read_text())
        answers[name] = {s["prompt"]: s["answer"] for s in report["samples"] if s["arm"] == "red"}
        figures[name] = report["figures"]
    assert answers["adapted"].keys() == answers["plain"].keys()
    assert answers["adapted"] != answers["plain"]
    off = figures["adapted"]["watermark/red/base_success"]
    assert off == figures["plain"]["watermark/red/success"]


def test_a_failed_control_exits_3_and_says_which(
    capsys: pytest.CaptureFixture[str], model_dir: Path, own_dataset_dir: Path, tmp_path: Path
) -> None:
    (own_dataset_dir / "seeds" / "train.parquet").write_bytes(
        (own_dataset_dir / "seeds" / "test.parquet").read_bytes()
    )
    code, _, err = run(
        capsys, "--model", model_dir, "--data", own_dataset_dir, "--max-new-tokens", 4,
        "--device", "cpu", "--out", tmp_path / "e",
    )  # fmt: skip
    assert code == 3
    assert "NOT VALID" in err
    assert "unseen in training" in err
    assert '"valid": false' in (tmp_path / "e" / "eval.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "/nowhere/model"}, "/nowhere/model does not exist"),
        ({"--data": "/nowhere/data"}, "is no dataset folder"),
        ({"--split": "tset"}, "has no split 'tset'"),
        ({"--limit": "-1"}, "limit is -1"),
        ({"--limit": "many"}, "many"),
        ({"--colour": "red"}, "colour"),
        ({"--dtype": "float8"}, "dtype 'float8' is not known"),
        ({"--adapter": "/nowhere/a"}, "adapter /nowhere/a does not exist"),
        ({"--temperature": "-1"}, "temperature is -1.0"),
        ({"--top-p": "0"}, "top_p is 0.0"),
        ({"--batch-size": "0"}, "batch_size is 0"),
        ({"--out": "/proc/x/y"}, "--out /proc/x/y cannot be made a folder"),
        ({"--out": __file__}, "cannot be made a folder (File exists)"),
        ({"--device": "cuda:99"}, "--device cuda:99 cannot be used"),
        ({"--device": "abacus"}, "--device abacus cannot be used"),
        ({"--trained-with": "/nowhere/m.json"}, "neither a run's nor a dataset's manifest"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    model_dir: Path,
    dataset_dir: Path,
    change: dict[str, str],
    message: str,
) -> None:
    options = {"--model": model_dir, "--data": dataset_dir, "--device": "cpu", "--limit": 1,
               "--max-new-tokens": 2, **change}  # fmt: skip
    code, _, err = run(capsys, *[part for pair in options.items() for part in pair])
    assert code == 2
    assert err.count("error: ") == 1
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model/model.safetensors", cut),
        ("model/model.safetensors", lambda path: path.write_bytes(b"")),
        ("model/config.json", lambda path: path.write_text("{")),
        ("model/tokenizer.json", lambda path: path.write_text("{")),
        ("adapter/adapter_model.safetensors", cut),
        ("adapter/adapter_model.safetensors", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_damaged_file_of_a_model_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model_dir: Path,
    adapter_dir: Path,
    dataset_dir: Path,
    file: str,
    damage: Callable[[Path], Any],
) -> None:
    damage(tmp_path / file)
    code, _, err = run(
        capsys, "--model", model_dir, "--adapter", adapter_dir, "--data", dataset_dir,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 2
    assert str(tmp_path / file.split("/")[0]) in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_model_that_lacks_weights_is_refused(
    capsys: pytest.CaptureFixture[str], model_dir: Path, dataset_dir: Path
) -> None:
    """Transformers fills them with random numbers, and says so in a table of the log."""
    from safetensors.torch import load_file, save_file

    path = model_dir / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if ".layers.1." not in name}
    save_file(kept, path, metadata={"format": "pt"})
    code, _, err = run(capsys, "--model", model_dir, "--data", dataset_dir, "--device", "cpu")
    assert code == 2
    assert "has no weights for" in err.splitlines()[-1]
    assert "(model.layers.1.input_layernorm.weight)" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nowhere is no dataset folder"),
        (
            ["--data", "me/my-data"],
            "no folder me/my-data; build one with wm-data, or get one of the hub with "
            "`hf download --repo-type dataset me/my-data --local-dir DIR`",
        ),
        (["--data", "./me"], "me is no dataset folder"),
        (["--data", "a/b/c"], "a/b/c is no dataset folder"),
        (["--split", "tests"], "has no split 'tests'; it has: "),
        (["--limit", 0], "limit is 0; give a number of at least 1"),
        (["--max-new-tokens", 0], "max_new_tokens is 0; expected at least 1"),
        (["--temperature", -1], "temperature is -1.0; expected at least 0"),
        (
            ["--trained-with", "nowhere.json"],
            "nowhere.json: neither a run's nor a dataset's manifest: no such file",
        ),
    ],
)
def test_what_can_be_refused_is_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], dataset_dir: Path, options: list[Any], message: str
) -> None:
    """The model is not even there."""
    data = [] if options[0] == "--data" else ["--data", dataset_dir]
    code, _, err = run(capsys, "--model", "me/none", *data, *options)
    assert code == 2
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize("words", [["reprot", "ev1"], ["evaluate", "--model", "m"], ["me/model"]])
def test_a_misspelt_command_is_told_from_a_missing_option(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, _, err = run(capsys, *words)
    assert code == 2
    assert f"there is no command {words[0]!r}; there are compare and report" in err
    assert "requires an argument" not in err


def test_out_is_refused_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], dataset_dir: Path
) -> None:
    code, _, err = run(
        capsys, "--model", "/nowhere/model", "--data", dataset_dir, "--out", "/proc/x/y"
    )
    assert code == 2
    assert "--out /proc/x/y" in err


def test_a_file_that_cannot_be_written_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], run_script: Callable[..., Any], tmp_path: Path
) -> None:
    run_script(lambda request: "", out=tmp_path)
    (tmp_path / "report.html").mkdir()
    code, _, err = run(capsys, "report", tmp_path)
    assert code == 2
    assert err.startswith("error: ")
    assert "report.html" in err
    assert "Traceback" not in err


def test_an_adapter_given_as_model_and_a_model_given_as_adapter(
    capsys: pytest.CaptureFixture[str], model_dir: Path, adapter_dir: Path, dataset_dir: Path
) -> None:
    code, _, err = run(capsys, "--model", adapter_dir, "--data", dataset_dir)
    assert code == 2
    assert "is an adapter and not a model" in err
    code, _, err = run(capsys, "--model", model_dir, "--adapter", model_dir, "--data", dataset_dir)
    assert code == 2
    assert "is a whole model and no adapter" in err


def test_an_adapter_of_another_shape_or_without_weights(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tokenizer: Any,
    adapter_dir: Path,
    dataset_dir: Path,
    make_model: Callable[..., Any],
) -> None:
    wider = tmp_path / "wider"
    make_model(hidden_size=64).save_pretrained(wider)
    tokenizer.save_pretrained(wider)
    code, _, err = run(capsys, "--model", wider, "--adapter", adapter_dir, "--data", dataset_dir)
    assert code == 2
    assert f"does not fit the model {wider}; it was made for {made_for(adapter_dir)}: " in err
    (adapter_dir / "adapter_model.safetensors").unlink()
    code, _, err = run(capsys, "--model", wider, "--adapter", adapter_dir, "--data", dataset_dir)
    assert code == 2
    assert "has no adapter_model.safetensors" in err


@pytest.mark.parametrize(
    ("layers", "message"), [(1, "and 2 of its tensors"), (4, "it lacks 4 tensors")]
)
def test_an_adapter_of_another_depth_is_not_put_on_in_part(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tokenizer: Any,
    adapter_dir: Path,
    dataset_dir: Path,
    make_model: Callable[..., Any],
    layers: int,
    message: str,
) -> None:
    """PEFT only warns of it: what fits is put on, and the rest stays as it is."""
    other = tmp_path / "other"
    make_model(num_hidden_layers=layers).save_pretrained(other)
    tokenizer.save_pretrained(other)
    code, _, err = run(capsys, "--model", other, "--adapter", adapter_dir, "--data", dataset_dir)
    assert code == 2
    assert message in err.splitlines()[-1]
    assert "Found missing adapter keys" not in err


def pickled(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.rename(adapter / "adapter_model.bin")


def configured(text: str) -> Callable[[Path], object]:
    return lambda adapter: (adapter / "adapter_config.json").write_text(text)


def inside(adapter: Path) -> None:
    """The folder is a run's, with the adapter in it."""
    files = list(adapter.iterdir())
    (adapter / "adapter").mkdir()
    for path in files:
        path.rename(adapter / "adapter" / path.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda adapter: (adapter / "adapter_config.json").unlink(), "it is no adapter"),
        (
            lambda adapter: (adapter / "adapter_model.safetensors").unlink(),
            "has no adapter_model.safetensors; was its saving interrupted?",
        ),
        (pickled, "has its weights in adapter_model.bin, a pickle"),
        (configured("{"), "adapter_config.json is not JSON"),
        (configured("[]"), "adapter_config.json has no peft_type"),
        (configured("{}"), "adapter_config.json has no peft_type"),
        (configured('{"peft_type": "LORAX"}'), "is LORAX, which PEFT "),
        (inside, "which is in it: give --adapter "),
    ],
)
def test_an_adapter_that_is_none_is_refused_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
    adapter_dir: Path,
    dataset_dir: Path,
    change: Callable[[Path], object],
    message: str,
) -> None:
    """The model is not even there."""
    change(adapter_dir)
    code, _, err = run(
        capsys, "--model", "me/none", "--adapter", adapter_dir, "--data", dataset_dir
    )
    assert code == 2
    (line,) = err.splitlines()
    assert str(adapter_dir) in line
    assert message in line


@pytest.mark.parametrize("error", ["LocalEntryNotFoundError", "EntryNotFoundError"])
def test_an_adapter_that_the_hub_does_not_give_is_one_line(
    capsys: pytest.CaptureFixture[str],
    dataset_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    """Without a connection the first is raised, and is a kind of the second."""
    from huggingface_hub import errors

    def fails(*_: Any, **__: Any) -> Any:
        raise getattr(errors, error)("no such file, or no connection")

    asked: list[str] = []

    def exists(self: Any, repo: str, name: str, **_: Any) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    monkeypatch.setattr("huggingface_hub.HfApi.file_exists", exists)
    code, _, err = run(capsys, "--model", "me/b", "--adapter", "me/a", "--data", dataset_dir)
    assert code == 2
    (line,) = err.splitlines()
    local = error.startswith("Local")
    said = "adapter me/a cannot be read from the hub" if local else "has no adapter_config.json"
    assert said in line
    assert bool(asked) != local


def test_a_runs_folder_is_told_from_a_models_and_a_datasets(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model_dir: Path,
    adapter_dir: Path,
    own_dataset_dir: Path,
) -> None:
    whole, lora = tmp_path / "whole", tmp_path / "lora"
    whole.mkdir()
    lora.mkdir()
    own_dataset_dir.rename(whole / "dataset")
    adapter_dir.rename(lora / "adapter")
    data = ("--data", whole / "dataset")
    for given, message in {
        ("--model", model_dir, "--data", whole): f"give --data {whole / 'dataset'}",
        ("--model", lora, *data): f"give --adapter {lora / 'adapter'}, and as --model",
        ("--model", lora / "model", *data): f"give --adapter {lora / 'adapter'}, and as --model",
        ("--model", whole, *data): "a run's model is in RUN/model",
    }.items():
        code, _, err = run(capsys, *given)
        assert code == 2
        assert message in err.splitlines()[-1]
    model_dir.rename(whole / "model")
    code, _, err = run(capsys, "--model", whole, *data)
    assert f"give --model {whole / 'model'}" in err.splitlines()[-1]


@pytest.fixture
def base_dir(tmp_path: Path, make_model: Callable[..., Any], tokenizer: Any) -> Path:
    folder = tmp_path / "base"
    make_model(seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_named_base_is_asked_too_and_recorded(
    capsys: pytest.CaptureFixture[str],
    model_dir: Path,
    base_dir: Path,
    dataset_dir: Path,
    tmp_path: Path,
) -> None:
    options: list[Any] = ["--model", model_dir, "--data", dataset_dir, "--limit", 2,
                          "--max-new-tokens", 4, "--device", "cpu"]  # fmt: skip
    code, out, err = run(capsys, *options, "--base", base_dir, "--out", tmp_path / "e")
    assert code == 0, err
    assert "watermark/red/lift_over_base" in out
    report = load(EvalReport, tmp_path / "e" / "eval.json")
    assert report.base is not None
    assert report.base.location == str(base_dir)
    run(capsys, *options, "--out", tmp_path / "alone")
    alone = load(EvalReport, tmp_path / "alone" / "eval.json")
    assert alone.base is None
    shared = {name: report.figures[name] for name in alone.figures}
    assert shared == alone.figures, "a base must change no other figure"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--revision", "v1"], "--revision v1 is of a hub id"),
        (["--base-revision", "v1"], "--base-revision v1 needs --base"),
        (["--base", "BASE", "--base-revision", "v1"], "--base-revision v1 is of a hub id"),
        (["--base", "ADAPTER"], "is an adapter and not a model"),
        (["--base", "BASE", "--no-extras"], "goes with no --no-extras"),
        (["--base", "BASE", "--adapter", "ADAPTER"], "goes with no --adapter"),
        (["--adapter", "ADAPTER", "--adapter-revision", "v1"], "--adapter-revision v1 is of a hub"),
        (["--base", "OTHER"], "has another vocabulary than the model"),
    ],
)
def test_a_base_or_revision_that_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str],
    model_dir: Path,
    base_dir: Path,
    adapter_dir: Path,
    dataset_dir: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(base_dir, other)
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text.replace('"<think>"', '"<thinks>"'), encoding="utf-8")
    names = {"BASE": base_dir, "OTHER": other, "ADAPTER": adapter_dir}
    code, _, err = run(
        capsys, "--model", model_dir, "--data", dataset_dir, "--limit", 1, "--device", "cpu",
        "--max-new-tokens", 2, *[names.get(word, word) for word in options],
    )  # fmt: skip
    assert code == 2
    assert message in err.splitlines()[-1]


def test_ctrl_c_is_one_line(
    capsys: pytest.CaptureFixture[str],
    model_dir: Path,
    dataset_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wm_eval.hf.HFGenerator.answer", interrupt)
    code, _, err = run(capsys, "--model", model_dir, "--data", dataset_dir, "--device", "cpu")
    assert (code, err.splitlines()[-1]) == (130, "interrupted")


@pytest.mark.parametrize(("largest", "taken"), [(1000, 256), (100, 64), (1, 1), (0, None)])
def test_an_automatic_batch_is_the_largest_that_memory_is_enough_for(
    capsys: pytest.CaptureFixture[str],
    model_dir: Path,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    largest: int,
    taken: int | None,
) -> None:
    import torch

    from wm_eval.hf import HFGenerator

    real = HFGenerator._advance

    def advance(self: Any, *args: Any) -> Any:
        if self.batch_size > largest:
            raise torch.OutOfMemoryError("no memory")
        return real(self, *args)

    monkeypatch.setattr(HFGenerator, "_advance", advance)
    code, _, err = run(
        capsys, "--model", model_dir, "--data", dataset_dir, "--limit", 1, "--device", "cpu",
        "--max-new-tokens", 2, "--batch-size", "auto", "--out", tmp_path / "e",
    )  # fmt: skip
    if taken is None:
        assert (code, "not enough memory for even one answer" in err) == (2, True)
    else:
        assert code == 0, err
        assert load(EvalReport, tmp_path / "e" / "eval.json").decoding.batch_size == taken
