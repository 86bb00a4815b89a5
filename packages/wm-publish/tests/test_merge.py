"""A merged model answers as base and adapter do, and says in its card what it is."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from wm_manifest import FileRef, ModelRef, RunManifest, load, save
from wm_manifest.weights import weights_sha256
from wm_publish import PublishError, cli, prepare, publish, render_card
from wm_publish.run import stage

torch = pytest.importorskip("torch", reason="of the extra wm-publish[merge]")
peft = pytest.importorskip("peft", reason="of the extra wm-publish[merge]")
transformers = pytest.importorskip("transformers", reason="of the extra wm-publish[merge]")
safetensors = pytest.importorskip("safetensors.torch", reason="of the extra wm-publish[merge]")

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning",
    # PEFT's own warnings, of adapters that are merged the right way here, and of one that is not.
    "ignore:Model has `tie_word_embeddings=True`",
    "ignore:Model with `tie_word_embeddings=True`",
)
IDS = torch.arange(1, 40)[None]
ADAPTER = "adapter_model.safetensors"
LARGE = 1024  # alpha: deltas of many times the base's weights


@pytest.fixture
def adapter_run(make_run):
    """A run folder with a real Qwen3 of a few thousand weights and a LoRA that does something."""

    def make(
        tied: bool = True, dtype: str = "float32", targets="all-linear", where="base", alpha=8
    ) -> Path:
        torch.manual_seed(0)
        config = transformers.Qwen3Config(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=tied,
        )  # fmt: skip
        model = transformers.Qwen3ForCausalLM(config).to(getattr(torch, dtype))
        run = make_run(output="adapter", files=[], base=ModelRef(location=where))
        base = run / "base" if where == "base" else Path(where)
        model.save_pretrained(str(base))
        lora = peft.LoraConfig(
            task_type="CAUSAL_LM", r=4, target_modules=targets, init_lora_weights=False,
            lora_alpha=alpha,
        )  # fmt: skip
        peft.get_peft_model(model, lora).save_pretrained(
            str(run / "adapter"), save_embedding_layers=False
        )
        record_adapter(run)
        return run

    return make


def record_adapter(run: Path) -> None:
    weights = run / "adapter/adapter_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    ref = FileRef(
        path="adapter/adapter_model.safetensors", bytes=weights.stat().st_size, sha256=digest
    )
    manifest = load(RunManifest, run / "manifest.json")
    save(manifest.model_copy(update={"files": [ref]}), run / "manifest.json")


def logits(folder: Path, adapter: Path | None = None):
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto")
    if adapter:
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    with torch.inference_mode():
        return model.eval()(IDS).logits.float()


def tensors(folder: Path, name: str = "model.safetensors"):
    return safetensors.load_file(folder / name)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_merged_model_gives_the_logits_of_base_and_adapter(adapter_run, tied):
    run = adapter_run(tied)
    prepare(run, merge=True)
    merged, adapted = logits(run / "merged"), logits(run / "base", run / "adapter")
    assert (merged - adapted).abs().max() < 1e-4
    assert (merged - logits(run / "base")).abs().max() > 0.1  # the adapter does something
    config = json.loads((run / "merged/config.json").read_text())
    assert config["tie_word_embeddings"] is tied


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half_precision(adapter_run, dtype):
    run = adapter_run(dtype=dtype)
    prepare(run, merge=True)
    assert json.loads((run / "merged/config.json").read_text())["dtype"] == dtype
    assert {str(t.dtype) for t in tensors(run / "merged").values()} == {f"torch.{dtype}"}
    merged, adapted = logits(run / "merged"), logits(run / "base", run / "adapter")
    assert (merged - adapted).abs().max() < 0.1


def test_what_a_model_keeps_in_float32_is_not_rounded(adapter_run, monkeypatch):
    keeps = {"model.norm", "lm_head"}
    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "_keep_in_fp32_modules_strict", keeps)
    run = adapter_run(tied=False, dtype="bfloat16", targets=["q_proj"])
    base = tensors(run / "base")
    kept = {"model.norm.weight", "lm_head.weight"}
    base |= {name: base[name].float() + 1 / 3 for name in kept}  # no numbers of bfloat16
    safetensors.save_file(base, run / "base/model.safetensors", {"format": "pt"})
    prepare(run, merge=True)
    merged = tensors(run / "merged")
    assert {name for name, tensor in merged.items() if tensor.dtype == torch.float32} == kept
    assert all(torch.equal(merged[name], base[name]) for name in kept)
    assert json.loads((run / "merged/config.json").read_text())["dtype"] == "bfloat16"


def test_same_run_merges_to_the_same_bytes(adapter_run):
    run = adapter_run()
    first = prepare(run, merge=True).release
    assert prepare(run, merge=True).release == first
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_release_has_the_whole_model_and_nothing_of_peft(adapter_run):
    run = adapter_run()
    paths = [ref.path for ref in prepare(run, "me/wm-merged", merge=True).release.files]
    assert {"model.safetensors", "config.json", "tokenizer.json", "wm_manifest.json"} <= set(paths)
    assert [path for path in paths if "adapter" in path or path.startswith("base/")] == []
    assert not (run / "README.md").exists()


def test_card_tells_a_merged_model_from_an_adapter(make_manifest):
    base = ModelRef(location="a/b", revision="c" * 40)
    manifest = make_manifest(output="adapter", base=base)
    card = ModelCard(render_card(manifest, "me/wm-merged", merged=True))
    assert (card.data.library_name, card.data["base_model_relation"]) == (
        "transformers",
        "finetune",
    )
    assert "lora" in card.data.tags
    assert "with that adapter merged into its weights" in card.text
    assert "PeftModel" not in card.text
    assert "SHA-256 of the adapter's weights, before merging," in card.text


@pytest.mark.parametrize(
    ("where", "merge"),
    [("base", False), ("base", True), ("{tmp}/elsewhere", True)],
    ids=["beside the adapter", "merged", "merged from outside the run"],
)
def test_weights_that_were_not_trained_on_are_refused(adapter_run, tmp_path, where, merge):
    where = where.format(tmp=tmp_path)
    run = adapter_run(where=where)
    base = run / "base" if where == "base" else Path(where)
    recorded = {"base_weights_sha256": weights_sha256(base)}
    manifest = load(RunManifest, run / "manifest.json").model_copy(update=recorded)
    save(manifest, run / "manifest.json")
    prepare(run, merge=merge)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(PublishError, match="not the base that this adapter was trained on"):
        prepare(run, merge=merge)


def test_published_beside_the_adapter_and_noted_apart(adapter_run, hub):
    run = adapter_run()
    options = {"endpoint": hub.endpoint, "sleep": hub.waits.append}
    before = (run / "manifest.json").read_bytes()
    outcome = publish(run, merge=True, **options)
    name = load(RunManifest, run / "manifest.json").name
    assert outcome.release.repo_id == f"me/{name}-merged"
    assert (run / "manifest.json").read_bytes() == before
    assert (run / "release-merged.json").is_file()
    assert "model.safetensors" in hub.files(f"me/{name}-merged")
    again = publish(run, merge=True, **options)
    assert again.release.hub == outcome.release.hub
    assert len(hub.repos[f"models/me/{name}-merged"].commits) == 2  # the first is the hub's


def test_laid_ready_beside_the_adapter_and_not_in_its_place(adapter_run, hub, monkeypatch):
    """The run knows where its adapter is, and its merged model goes elsewhere."""
    run = adapter_run()
    publish(run, "me/adapter", endpoint=hub.endpoint, sleep=hub.waits.append)
    monkeypatch.delenv("HF_TOKEN")
    outcomes = [prepare(run, merge=True), stage(run, None, True, "no token", merge=True)]
    assert [outcome.release.repo_id for outcome in outcomes] == [None, None]
    assert "me/adapter" not in (run / "publish-merged/README.md").read_text()


def test_a_merged_model_does_not_replace_an_adapter_without_force(adapter_run, hub):
    run = adapter_run()
    options = {"repo_id": "me/wm", "endpoint": hub.endpoint, "sleep": hub.waits.append}
    publish(run, **options)
    before = hub.files("me/wm")
    assert "adapter_model.safetensors" in before
    with pytest.raises(PublishError, match="me/wm holds an adapter, which its merged model would"):
        publish(run, merge=True, **options)
    assert hub.files("me/wm") == before
    publish(run, merge=True, force=True, **options)
    assert "adapter_model.safetensors" not in hub.files("me/wm")


def test_base_outside_the_run_merges_where_an_adapter_could_not_be_published(adapter_run, tmp_path):
    run = adapter_run(where=str(tmp_path / "elsewhere"))
    assert "model.safetensors" in [ref.path for ref in prepare(run, merge=True).release.files]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    "targets",
    [["q_proj", "lm_head"], ["q_proj", "embed_tokens"], ["lm_head", "embed_tokens"]],
    ids=["head", "embeddings", "both"],
)
def test_adapter_on_head_or_embeddings_merges(adapter_run, tied, targets):
    run = adapter_run(tied, targets=targets)
    prepare(run, merge=True)
    merged, adapted = logits(run / "merged"), logits(run / "base", run / "adapter")
    assert (merged - adapted).abs().max() < 1e-4
    assert (merged - logits(run / "base")).abs().max() > 0.1
    config = json.loads((run / "merged/config.json").read_text())
    assert config["tie_word_embeddings"] is False


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["q_proj"]])
def test_merging_by_hand_as_the_card_shows_it(adapter_run, tmp_path, monkeypatch, targets):
    run = adapter_run(tied=True, targets=targets)
    manifest = load(RunManifest, run / "manifest.json")
    config = {"model": {"lora": {"targets": targets}}}
    card = render_card(manifest.model_copy(update={"config": config}), "me/wm")
    (code,) = re.findall(r"```python\n([^`]*merge_and_unload[^`]*)\n```", card)
    assert ("tie_word_embeddings" in code) is (targets != ["q_proj"])
    monkeypatch.chdir(tmp_path)
    base = transformers.AutoModelForCausalLM.from_pretrained(str(run / "base"))
    exec(code, {
        "model": peft.PeftModel.from_pretrained(base, str(run / "adapter")),
        "tokenizer": SimpleNamespace(save_pretrained=lambda folder: None),
        "AutoModelForCausalLM": transformers.AutoModelForCausalLM,
    })  # fmt: skip
    merged, adapted = logits(tmp_path / "merged"), logits(run / "base", run / "adapter")
    assert (merged - adapted).abs().max() < 1e-4


@pytest.fixture
def large_run(adapter_run):
    """A base in bfloat16, with an adapter so large that the right merge's rounding shows."""
    targets = ["down_proj", "lm_head", "embed_tokens"]
    return adapter_run(dtype="bfloat16", targets=targets, alpha=LARGE)


def test_right_merge_in_bfloat16_is_rounded_once_and_passes(large_run):
    prepare(large_run, merge=True)
    merged = logits(large_run / "merged")
    adapted = logits(large_run / "base", large_run / "adapter")
    assert (merged - adapted).abs().max() > 1.5  # the bound that refused every preset for Qwen3
    layer = "model.layers.1.mlp.down_proj"
    lora = tensors(large_run / "adapter", ADAPTER)
    a, b = (lora[f"base_model.model.{layer}.lora_{side}.weight"] for side in "AB")
    exact = tensors(large_run / "base")[f"{layer}.weight"].float() + b @ a * (LARGE / 4)
    off = tensors(large_run / "merged")[f"{layer}.weight"].float() - exact
    assert (off.abs() <= exact.abs() * 2**-8 + 1e-6).all()  # half a step of bfloat16


def _without_a_layer(function):
    """PEFT's merge, but for the first layer that it comes to."""
    layers = []

    def delta(layer, adapter):
        layers.append(layer)
        return function(layer, adapter) * (layer is not layers[0])

    return delta


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        ("wm_publish.merge", "_untie", lambda _: lambda base: None),
        ("peft.tuners.lora.Linear", "get_delta_weight", _without_a_layer),
        ("peft.tuners.lora.Embedding", "get_delta_weight", _without_a_layer),
    ],
    ids=["ends left tied", "one layer left out", "embeddings left out"],
)
def test_wrong_merge_in_bfloat16_is_refused(large_run, monkeypatch, owner, name, wrong):
    monkeypatch.setattr(f"{owner}.{name}", wrong(pkgutil.resolve_name(f"{owner}.{name}")))
    with pytest.raises(PublishError, match="merged, a logit is off by"):
        prepare(large_run, merge=True)
    assert not (large_run / "merged").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merge_that_changes_the_model_is_refused(adapter_run, monkeypatch, dtype):
    """As PEFT's own merge would be, if it merged into the wrong scale."""
    monkeypatch.setattr(peft.tuners.lora.Linear, "get_delta_weight", lambda *_: torch.zeros(1))
    with pytest.raises(PublishError, match="merged, a logit is off by"):
        prepare(adapter_run(dtype=dtype), merge=True)


def test_adapter_of_nan_is_refused(adapter_run, monkeypatch):
    run = adapter_run()
    nan = {name: t * float("nan") for name, t in tensors(run / "adapter", ADAPTER).items()}
    safetensors.save_file(nan, run / "adapter" / ADAPTER)
    record_adapter(run)
    with pytest.raises(PublishError, match="cannot be merged: NaNs detected"):
        prepare(run, merge=True)
    monkeypatch.setattr(torch, "isfinite", lambda tensor: torch.tensor(True))  # PEFT's own check
    with pytest.raises(PublishError, match="merged, a logit is off by nan"):
        prepare(run, merge=True)


def test_merge_beyond_what_float16_holds_is_refused(adapter_run):
    run = adapter_run(dtype="float16", targets=["down_proj"], alpha=1e8)
    with pytest.raises(PublishError, match="saved as float16, as its base is, the model gives"):
        prepare(run, merge=True)
    assert [p.name for p in run.iterdir() if p.name.startswith((".", "merged"))] == []


def test_altered_adapter_is_refused(adapter_run):
    run = adapter_run()
    with (run / "adapter/adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(PublishError, match="not the file that training wrote"):
        prepare(run, merge=True)


def test_whole_model_has_nothing_to_merge(make_run):
    with pytest.raises(PublishError, match="leave out --merge"):
        prepare(make_run(), merge=True)


def test_without_peft_the_error_names_the_extra(adapter_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(sys, "argv", ["wm-publish", str(adapter_run()), "--merge", "--dry-run"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "uv sync in a clone of wm installs it" in capsys.readouterr().err
