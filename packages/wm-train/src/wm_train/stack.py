"""What each attempt of a run ran on: it may be gone on with on another machine. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from wm_manifest import Hardware, RunManifest, Stack
from wm_train import checkout, provenance
from wm_train.redact import redact_command
from wm_train.saying import say

if TYPE_CHECKING:
    from wm_train.differences import Difference


def here(
    run_dir: Path, command: list[str], before: RunManifest | None, four_bit: bool = False
) -> Stack:
    """This attempt's; a patch of its code stands beside those of the attempts before it."""
    number = len(before.attempts) + 1 if before else 1
    git = checkout.state(run_dir, checkout.PATCH if number == 1 else f"code-{number}.patch")
    for _, earlier in stretches(before) if before else ():
        kept = earlier.git.diff_path
        if git.diff_path and kept != git.diff_path and earlier.git.diff_sha256 == git.diff_sha256:
            (run_dir / git.diff_path).unlink(missing_ok=True)  # the same changes
            git = git.model_copy(update={"diff_path": kept})
    return Stack(
        command=redact_command(command),
        git=git,
        lock_sha256=provenance.lock_sha256(),
        packages=provenance.versions(four_bit),
        python=provenance.python_version(),
        hardware=provenance.hardware(),
    )


def on(manifest: RunManifest, stack: Stack) -> RunManifest:
    """The run as if it had begun on `stack`."""
    fields = {name: getattr(stack, name) for name in Stack.model_fields}
    return manifest.model_copy(update=fields)


def stretches(manifest: RunManifest) -> Iterator[tuple[int, RunManifest]]:
    """The run as its first attempt ran it, then as each later one did; the step each began at."""
    yield 0, manifest
    for attempt in manifest.attempts[1:]:
        if attempt.stack is not None:
            yield attempt.from_step, on(manifest, attempt.stack)


def machines(manifest: RunManifest) -> list[Hardware]:
    """What the attempts of a run ran on."""
    return [run.hardware for _, run in stretches(manifest)]


def changed(before: RunManifest, now: Stack) -> list[Difference]:
    """What could matter and is not as it was in the newest attempt."""
    from wm_train.differences import changes

    *_, (_, last) = stretches(before)
    return list(changes(last, on(before, now)))


def announce(before: RunManifest, now: Stack, console: Console) -> None:
    """Say what is not as it was in the attempt before."""
    for each in changed(before, now):
        say(console, f"since the last attempt: {each}", "yellow")
