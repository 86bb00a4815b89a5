"""Publishes a run that has finished, if its preset says so. What goes wrong there fails no run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

import wm_publish
from wm_manifest import HubRef, ManifestError, ReleaseManifest, RunManifest, load
from wm_publish.run import RELEASE_MERGED
from wm_train.config import PublishConfig
from wm_train.provenance import one_line as kind_and_first_line
from wm_train.redact import redact
from wm_train.saying import say


def announce(config: PublishConfig | None, console: Console) -> None:
    """Say at the start what would keep the run from being uploaded at its end."""
    from huggingface_hub import get_token

    if config is None or not config.at_end or get_token():
        return
    text = "no Hugging Face token: at its end the run will be laid ready and not uploaded"
    _say(console, f"{text}; log in before with hf auth login", "yellow")


def at_end(config: PublishConfig | None, run_dir: Path, console: Console) -> None:
    """Upload the finished run of `run_dir` where that was not done, and its merged model if asked.

    Never raises: training is over, and its result is on the disk. What did not work is printed with
    what to type later, and the folder that would have gone up is in the run.
    """
    if config is None or not config.at_end:
        return
    for merge in (False, True) if config.merge else (False,):
        name = config.repo_id
        if name is not None and merge:
            name += "-merged"
        _publish(run_dir, name, config.private, merge, console)


def _publish(
    run_dir: Path, repo_id: str | None, private: bool, merge: bool, console: Console
) -> None:
    try:
        up = _up(run_dir, merge)
        if up is not None and repo_id in (None, up.repo_id):
            return
        outcome = wm_publish.publish(run_dir, repo_id, private, merge=merge)
        reason, staged = outcome.reason, outcome.staged
        if outcome.release.hub is not None:
            _say(console, f"published ({_access(private)}): {outcome.release.hub.url}")
            return
    except Exception as error:  # of whatever kind: hours of training must not end in a traceback
        reason, staged = _told(error), _laid_ready(run_dir, repo_id, private, merge)
    _say(console, f"not published: {reason}", "yellow")
    if staged is not None:
        _say(console, f"what would have gone up is in {staged}")
    _say(console, "to upload it later:")
    _say(console, f"  {wm_publish.command(run_dir, repo_id, private, merge)}")


def _laid_ready(run_dir: Path, repo_id: str | None, private: bool, merge: bool) -> Path | None:
    """The folder for an upload by hand; None when nothing may go up, as with a secret in a file."""
    try:
        return wm_publish.stage(run_dir, repo_id, private, "refused", merge).staged
    except Exception:  # the reason that is shown is that of the first attempt
        return None


def _told(error: Exception) -> str:
    ours = isinstance(error, (wm_publish.PublishError, ManifestError))
    return str(error) if ours else kind_and_first_line(error)


def _up(run_dir: Path, merge: bool) -> HubRef | None:
    """Where the run, or its merged model, stands on the hub."""
    if not merge:
        return load(RunManifest, run_dir / "manifest.json").hub
    path = run_dir / RELEASE_MERGED
    return load(ReleaseManifest, path).hub if path.is_file() else None


def _access(private: bool) -> str:
    return "private" if private else "public"


def _say(console: Console, text: str, style: str | None = None) -> None:
    say(console, redact(text), style)
