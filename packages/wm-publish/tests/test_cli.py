"""The command as a user types it: what it prints, where, and how it exits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wm_manifest import RunManifest, load, save
from wm_publish import cli, render_card


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Call `main` with arguments; give back exit code, stdout and stderr."""

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["wm-publish", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return go


def test_dry_run_renders_the_card_lists_files_with_sizes_and_uploads_nothing(run_cli, make_run):
    run = make_run()
    code, out, err = run_cli(run, "--dry-run")
    assert (code, err) == (0, "")
    assert (run / "README.md").read_text() == render_card(load(RunManifest, run / "manifest.json"))
    for name in (
        "model.safetensors",
        "wm_manifest.json",
        "plots/detect.png",
        "298 bytes",
        "9 files",
    ):
        assert name in out
    assert "training_args.bin" not in out
    assert "Nothing was uploaded. To upload to <your user name>/demo-gentle-otter" in out
    assert not (run / "publish").exists()


def test_dry_run_of_an_interrupted_run_writes_the_card_and_says_what_is_missing(run_cli, make_run):
    run = make_run(status="interrupted", evaluations=[], samples=[], controls=[])
    (run / "model/model.safetensors").unlink()
    code, _, err = run_cli(run, "--dry-run")
    assert code == 2
    assert "has no model.safetensors; was the run interrupted as it saved?" in err
    assert "**This run did not finish.**" in (run / "README.md").read_text()


def test_without_a_token_it_exits_1_and_prints_the_command_for_later(
    run_cli, make_run, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    run = make_run()
    code, out, _ = run_cli(run, "--repo-id", "me/wm", "--public")
    assert code == 1
    assert "Not uploaded: no Hugging Face token" in out
    assert f"uv run wm-publish {run} --repo-id me/wm --public" in out
    assert (run / "publish" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere: no such folder"),
        ([], "error: "),
        (["RUN", "--no-such-option"], "error: "),
        (["RUN", "--repo-id", "a b", "--private"], "error: 'a b' is no repository name"),
        (["RUN", "--repo-id", "a b", "--dry-run"], "error: 'a b' is no repository name"),
    ],
)
def test_mistake_is_one_line_on_stderr_and_exit_2(run_cli, make_run, arguments, message):
    run = make_run()
    code, out, err = run_cli(*[run if a == "RUN" else a for a in arguments])
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert "Traceback" not in err


def test_malformed_manifest_is_one_clear_line(run_cli, make_run):
    run = make_run()
    (run / "manifest.json").write_text('{"kind": "run"}')
    code, _, err = run_cli(run, "--dry-run")
    assert code == 2
    assert "manifest.json" in err
    assert err.count("\n") == 1


def test_a_fault_of_the_disk_is_one_line_and_exit_2(run_cli, make_run):
    """Exit 1 would say that the release is laid ready."""
    run = make_run()
    (run / "README.md").mkdir()
    code, out, err = run_cli(run, "--dry-run")
    said = f"error: {run / 'README.md'}: Is a directory; expected a file to write\n"
    assert (code, out, err) == (2, "", said)
    (run / "README.md").rmdir()
    (run / "model/tokenizer.json").chmod(0)
    (run / "eval/step-000300/eval.json").unlink()
    (run / "eval/step-000300/eval.json").symlink_to("eval.json")
    code, _, err = run_cli(run, "--dry-run")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("config", [{"model": "x"}, {"model": {"lora": [1]}}, {"": None}])
def test_a_configuration_of_any_form_is_published(run_cli, make_run, config):
    assert run_cli(make_run(config=config), "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ('wm-publish "$1" --dry-run > /dev/full', 2, "error: standard output: No space left"),
        ('wm-publish "$1" --dry-run | true; exit ${PIPESTATUS[0]}', 0, ""),
    ],
    ids=["full disk", "reader gone"],
)
def test_output_that_nobody_can_have_is_no_traceback(make_run, script, status, said):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script, "bash", str(make_run())], env=env, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (status, "")
    assert ran.stderr.startswith(said)
    assert len(ran.stderr.splitlines()) == bool(said)


def test_escape_codes_of_a_strangers_manifest_do_not_reach_the_terminal(run_cli, make_run):
    code, out, _ = run_cli(make_run(name="x", plots=[], evaluations=[]), "--dry-run")
    assert code == 0
    run = make_run("y", plots=["\x1b[31m.png"])
    _, out, err = run_cli(run, "--dry-run")
    manifest = load(RunManifest, run / "manifest.json")
    save(manifest.model_copy(update={"plots": [], "name": "\x1b[2J"}), run / "manifest.json")
    _, more, _ = run_cli(run, "--dry-run")
    assert r"Release of \x1b[2J" in more
    assert "\x1b" not in out + err + more


def test_ctrl_c_exits_130_without_a_traceback(run_cli, make_run, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("wm_publish.run.publish", interrupt)
    code, _, err = run_cli(make_run())
    assert code == 130
    assert err.startswith("interrupted: the hub holds the old release or the new one")
    assert len(err.splitlines()) == 1


def modules_after(statement):
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_nothing_heavy_is_imported():
    assert modules_after("import wm_publish.cli").isdisjoint(
        {"torch", "transformers", "datasets", "jinja2", "httpx", "httpx2", "numpy", "rich.table"}
    )


def test_work_uses_no_other_stage_and_no_model_library(make_run):
    run = make_run()
    used = modules_after(f"import wm_publish; wm_publish.prepare({str(run)!r})")
    ours = {name for name in used if name.startswith("wm_")}
    assert ours == {"wm_manifest", "wm_publish"}
    assert used.isdisjoint({"torch", "transformers", "peft", "trl", "datasets", "wandb"})
