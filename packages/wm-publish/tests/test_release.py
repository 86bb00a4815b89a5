"""What is published is a list, and every file on it is there, unaltered and free of secrets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from wm_manifest import Evaluation, ManifestError, ModelRef, RunManifest, load
from wm_publish import PublishError, plan, publish
from wm_publish.release import collect
from wm_publish.secrets import find

LIST = [
    "README.md",
    "config.json",
    "eval.json",
    "model.safetensors",
    "plots/detect.png",
    "plots/watermark.png",
    "tokenizer.json",
    "tokenizer_config.json",
    "wm_manifest.json",
]
# Put together here, so that no scanner takes this file for a leak.
HF = "hf_" + "aB3" * 11 + "x"
WANDB = "0123456789" * 4


def test_list_is_explicit_and_leaves_pickles_logs_and_checkpoints_at_home(make_run):
    release = plan(make_run(), "me/wm")
    assert [ref.path for ref in release.files] == LIST
    assert (release.repo_id, release.private, release.hub) == ("me/wm", True, None)


def test_sizes_and_hashes_are_those_of_the_files(make_run):
    run = make_run()
    weights = (run / "model/model.safetensors").read_bytes()
    ref = next(ref for ref in plan(run).files if ref.path == "model.safetensors")
    assert (ref.bytes, ref.sha256) == (len(weights), hashlib.sha256(weights).hexdigest())


def test_plan_writes_nothing(make_run):
    run = make_run()
    before = sorted(run.rglob("*"))
    plan(run)
    assert sorted(run.rglob("*")) == before


def test_adapter_of_a_local_base_brings_its_base(make_run):
    run = make_run(output="adapter")
    (run / "base").mkdir()
    config = {"base_model_name_or_path": "/home/alice/runs/x/base", "r": 4}
    (run / "adapter/adapter_config.json").write_text(json.dumps(config))
    for name in ("config.json", "model.safetensors", "optimizer.pt"):
        (run / "base" / name).write_bytes(bytes(8) + b"{}")
    paths = [ref.path for ref in plan(run).files]
    assert [path for path in paths if path.startswith("base/")] == [
        "base/config.json",
        "base/model.safetensors",
    ]
    assert "adapter_model.safetensors" in paths
    items = {
        item.ref.path: item.source
        for item in collect(run, load(RunManifest, run / "manifest.json"))
    }
    assert json.loads(items["adapter_config.json"]) == {"base_model_name_or_path": "base", "r": 4}


def test_adapter_of_a_hub_model_leaves_its_base_where_it_is(make_run):
    run = make_run(output="adapter", base=ModelRef(location="a/b", revision="c" * 40))
    (run / "base").mkdir()
    assert not [ref for ref in plan(run).files if ref.path.startswith("base/")]


@pytest.mark.parametrize("location", ["/home/alice/mybase", "models/mybase", "/home/alice/base"])
def test_adapter_of_a_base_outside_the_run_is_refused_in_one_line(make_run, location):
    run = make_run(output="adapter", base=ModelRef(location=location))
    with pytest.raises(
        PublishError, match=r"publish that base first and train from its hub id"
    ) as e:
        plan(run)
    assert location in str(e.value)
    assert "\n" not in str(e.value)


def test_base_folder_of_another_name_is_not_published_as_the_base(make_run):
    run = make_run(output="adapter", base=ModelRef(location="/home/alice/mybase"))
    (run / "base").mkdir()
    with pytest.raises(PublishError, match="a folder outside the run"):
        plan(run)


def test_interrupted_run_without_a_model_says_so(make_run):
    run = make_run(status="interrupted")
    for path in (run / "model").iterdir():
        path.unlink()
    (run / "model").rmdir()
    with pytest.raises(PublishError, match="no finished model"):
        plan(run)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model/model.safetensors", "has no model.safetensors"),
        ("model/config.json", "has no config.json"),
        ("model/tokenizer.json", "has no tokenizer.json"),
        ("eval/step-000300/eval.json", "eval.json: missing"),
        ("plots/detect.png", "detect.png: missing"),
    ],
)
def test_missing_file_is_named(make_run, name, message):
    run = make_run()
    (run / name).unlink()
    with pytest.raises(PublishError, match=message):
        plan(run)


def test_missing_folder_and_manifest_are_named(tmp_path):
    with pytest.raises(PublishError, match="no such folder"):
        plan(tmp_path / "nothing")
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        plan(tmp_path)


def test_weights_altered_since_training_are_refused(make_run):
    run = make_run()
    with (run / "model/model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(PublishError, match="not the file that training wrote"):
        plan(run)


@pytest.mark.parametrize("plot", ["../outside.png", "/etc/passwd", "plots/../../x.png", "a b.png"])
def test_plot_path_that_could_leave_the_folder_is_refused(make_run, plot):
    with pytest.raises(PublishError, match="expected a plain relative path"):
        plan(make_run(plots=[plot]))


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "eval/../../x", "a\\b", "a\0b"])
def test_evaluation_path_that_could_leave_the_folder_is_refused(make_run, path):
    last = Evaluation(step=300, path=path, valid=True, figures={})
    run = make_run(evaluations=[])
    manifest = load(RunManifest, run / "manifest.json").model_copy(update={"evaluations": [last]})
    with pytest.raises(PublishError, match="expected a path inside the run folder"):
        collect(run, manifest)


def test_damaged_adapter_configuration_is_named(make_run):
    run = make_run(output="adapter", files=[])
    (run / "base").mkdir()
    for name in ("config.json", "model.safetensors"):
        (run / "base" / name).write_bytes(bytes(8) + b"{}")
    (run / "adapter/adapter_config.json").write_text("[1")
    with pytest.raises(PublishError, match=r"adapter_config\.json: expected a JSON object"):
        plan(run)


def test_link_out_of_the_folder_is_refused(make_run, tmp_path):
    run = make_run()
    (tmp_path / "outside.json").write_text("{}")
    (run / "model/tokenizer.json").unlink()
    (run / "model/tokenizer.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(PublishError, match="leads out of the run folder"):
        plan(run)


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        (HF, "Hugging Face token"),
        ("hf_oauth_" + "eyJhbGciOiJFZERTQSJ9" * 2, "Hugging Face token"),
        ("hf_jwt_" + "eyJhbGciOiJFZERTQSJ9.e30" * 2, "Hugging Face token"),
        ("https://" + "tok123456789012345@host.invalid/x", "URL with a token"),
        ("https://:pass" + "word@host.invalid/x", "URL with a password"),
        (f"WANDB_API_KEY={WANDB}", "W&B key"),
        (f'"api_key": "{WANDB}"', "W&B key"),
        ("https://me:pass" + "word@host.invalid/x", "URL with a password"),
        ("ghp_" + "a1" * 18, "GitHub token"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "private key"),
    ],
)
def test_secret_in_a_file_is_refused_by_place_and_never_repeated(make_run, secret, kind):
    run = make_run(files=[])
    (run / "model/tokenizer_config.json").write_text('{\n  "x": ' + secret + "\n}\n")
    with pytest.raises(PublishError) as caught:
        plan(run)
    message = str(caught.value)
    assert message.startswith("tokenizer_config.json: line 2, column")
    assert kind in message
    assert secret[-16:] not in message


def test_secret_on_the_command_line_is_found_in_what_is_rendered(make_run):
    with pytest.raises(PublishError, match=r"^README\.md: line \d+.*Hugging Face token"):
        plan(make_run(command=["wm-train", "--token", HF]))


def test_secret_in_a_safetensors_header_is_found(make_run):
    run = make_run(files=[])
    header = b'{"__metadata__": {"note": "' + HF.encode() + b'"}}'
    path = run / "model/model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(PublishError, match=r"model\.safetensors: line 1, column"):
        plan(run)


def test_key_of_this_process_is_found_whatever_its_form(make_run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "no-known-form-of-key")
    with pytest.raises(PublishError, match="the value of WANDB_API_KEY"):
        plan(make_run(command=["wm-train", "no-known-form-of-key"]))


def test_token_in_use_is_found_wherever_it_was_kept(make_run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "of-no-known-form-1")
    run = make_run(command=["wm-train", "of-no-known-form-1"])
    with pytest.raises(PublishError, match="the Hugging Face token in use"):
        plan(run)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert plan(run).files
    with pytest.raises(PublishError, match="the Hugging Face token in use"):
        publish(run, "me/wm", token="of-no-known-form-1")


def test_key_is_found_as_json_writes_it(make_run, monkeypatch):
    key = 'quoted"and/slashed\\and-ü'
    monkeypatch.setenv("WANDB_API_KEY", key)
    written = [key, json.dumps(key), json.dumps(key, ensure_ascii=False)]
    for text in (*written, written[1].replace("/", "\\/")):
        found = find(text.encode())
        assert found is not None, text
        assert found.kind == "the value of WANDB_API_KEY"
    assert find(b"quoted and slashed") is None


@pytest.mark.parametrize(
    "text",
    [
        "commit 0123456789abcdef0123456789abcdef01234567",
        '"commit": "0123456789abcdef0123456789abcdef01234567"',
        "https://huggingface.co/Qwen/Qwen3-0.6B",
        "hf_hub_download(repo_id)",
        "hf_oauth_expiration_minutes: 480",
        "ssh://git@host.invalid/a-repository-of-2026",
        "https://somebody@host.invalid/x",
        "https://host.invalid/a-page-of-2026-01-31?to=me@host.invalid",
        "mail me@host.invalid: at once",
        "a sk-learn model",
    ],
)
def test_ordinary_text_is_no_secret(text):
    assert find(text.encode()) is None


def test_folders_of_this_machine_do_not_go_up(make_run):
    run = make_run(base=ModelRef(location="/home/alice/models/base"))
    items = collect(run, load(RunManifest, run / "manifest.json"))
    rendered = b"".join(item.source for item in items if isinstance(item.source, bytes))
    assert b"alice" not in rendered


def test_manifest_goes_up_without_the_hub_reference(make_run):
    run = make_run()
    first = plan(run, "me/wm")
    manifest = load(RunManifest, run / "manifest.json")
    hub = {"repo_id": "me/wm", "commit": "a" * 40, "url": "u"}
    published = RunManifest.model_validate(manifest.model_dump() | {"hub": hub})
    Path(run / "manifest.json").write_text(published.model_dump_json())
    assert plan(run).files == first.files
