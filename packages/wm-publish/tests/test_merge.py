"""A merged model answers as base and adapter do, and says in its card what it is."""

from __future__ import annotations

import hashlib
import json
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

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning",
    # PEFT's own warning, of adapters that are merged the right way here.
    "ignore:Model has `tie_word_embeddings=True`",
)
IDS = torch.arange(1, 40)[None]


@pytest.fixture
def adapter_run(make_run):
    """A run folder with a real Qwen3 of a few thousand weights and a LoRA that does something."""

    def make(tied: bool = True, dtype: str = "float32", targets="all-linear", where="base") -> Path:
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
            task_type="CAUSAL_LM", r=4, target_modules=targets, init_lora_weights=False
        )
        peft.get_peft_model(model, lora).save_pretrained(
            str(run / "adapter"), save_embedding_layers=False
        )
        weights = run / "adapter/adapter_model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        ref = FileRef(
            path="adapter/adapter_model.safetensors", bytes=weights.stat().st_size, sha256=digest
        )
        manifest = load(RunManifest, run / "manifest.json")
        save(manifest.model_copy(update={"files": [ref]}), run / "manifest.json")
        return run

    return make


def logits(folder: Path, adapter: Path | None = None):
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto")
    if adapter:
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    with torch.inference_mode():
        return model.eval()(IDS).logits.float()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_merged_model_gives_the_logits_of_base_and_adapter(adapter_run, tied):
    run = adapter_run(tied)
    prepare(run, merge=True)
    merged, adapted = logits(run / "merged"), logits(run / "base", run / "adapter")
    assert (merged - adapted).abs().max() < 1e-4
    assert (merged - logits(run / "base")).abs().max() > 0.1  # the adapter does something
    config = json.loads((run / "merged/config.json").read_text())
    assert config["tie_word_embeddings"] is tied


def test_half_precision_stays_half_precision(adapter_run):
    run = adapter_run(dtype="bfloat16")
    prepare(run, merge=True)
    assert json.loads((run / "merged/config.json").read_text())["dtype"] == "bfloat16"
    merged, adapted = logits(run / "merged"), logits(run / "base", run / "adapter")
    assert (merged - adapted).abs().max() < 0.1


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


def test_merge_that_changes_the_model_is_refused(adapter_run, monkeypatch):
    """As PEFT's own merge would be, if it merged into the wrong scale."""
    monkeypatch.setattr(peft.tuners.lora.Linear, "get_delta_weight", lambda *_: torch.zeros(1))
    with pytest.raises(PublishError, match="merged, a logit is off by"):
        prepare(adapter_run(), merge=True)


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
