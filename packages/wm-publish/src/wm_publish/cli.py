"""The command `wm-publish`. Prints; all work is in `wm_publish.run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter

if TYPE_CHECKING:
    from wm_publish.run import Outcome

app = App(
    name="wm-publish",
    help="Publish a training run on the Hugging Face hub.",
    suppress_keyboard_interrupt=False,
)


@app.default
def command(
    run: Path,
    /,
    *,
    repo_id: str | None = None,
    private: Annotated[bool, Parameter(negative="--public")] = True,
    merge: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Render the model card of RUN and upload adapter or model, card, manifest, figures and plots.

    Parameters
    ----------
    run
        A run folder, as wm-train makes it.
    repo_id
        Where to: user/name. By default where it went before, or your name and the run's.
    private
        Keep the repository private (the default), or make it public.
    merge
        Merge the adapter into its base and publish the whole model, by default as NAME-merged.
        Needs torch, transformers and peft, which uv sync installs.
    dry_run
        Write the card to RUN/README.md and list what would be uploaded; upload nothing.
    force
        Write over a repository of something else, or over an evaluation with a larger n.
    """
    from wm_publish.run import prepare, publish

    if dry_run:
        outcome = prepare(run, repo_id, private, merge)
    else:
        outcome = publish(run, repo_id, private, force, merge)
    _tell(run, outcome, merge)
    # 1, not 0: a script that goes on must not believe that it is published.
    return 1 if outcome.staged else 0


def main() -> None:
    """Run the command. Exit 0: done; 1: laid ready but not uploaded; 2: an error; 130: Ctrl-C."""
    from wm_manifest import ManifestError
    from wm_publish.errors import PublishError
    from wm_publish.markup import one_line

    if not sys.stderr.isatty():  # each step of the libraries' bars would be a line of the log
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        code = app(
            sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (PublishError, ManifestError, CycloptsError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {one_line(where + (error.strerror or str(error)))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "interrupted: the hub holds the old release or the new one, never a mixture",
            file=sys.stderr,
        )
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _tell(run: Path, outcome: Outcome, merge: bool) -> None:
    """Print what was done; that nobody reads it does not undo it."""
    from wm_publish.errors import PublishError

    try:
        _show(run, outcome, merge)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich exits with 1 when the reader is gone
        _abandon_output()
    except OSError as error:
        _abandon_output()
        raise PublishError(
            f"standard output: {error.strerror}; all is done but for what stood there to be told"
        ) from error


def _abandon_output() -> None:
    """Standard output goes nowhere from here on: Python's own last flush would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(run: Path, outcome: Outcome, merge: bool) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape as for_rich
    from rich.table import Table

    from wm_publish.markup import one_line
    from wm_publish.run import command as typed

    def escape(text: str) -> str:
        return for_rich(one_line(text))  # rich obeys the escape codes of a terminal

    release = outcome.release
    console = Console(soft_wrap=True)
    table = Table(title=f"Release of {escape(release.run)}", title_justify="left")
    table.add_column("file")
    table.add_column("size", justify="right")
    table.add_column("SHA-256", style="dim")
    for ref in release.files:
        table.add_row(escape(ref.path), decimal(ref.bytes), ref.sha256[:12])
    total = decimal(sum(ref.bytes for ref in release.files))
    table.add_section()
    table.add_row(f"{len(release.files)} files", total, "")
    console.print(table)
    access = "private" if release.private else "public"
    where = release.repo_id or f"<your user name>/{release.run}" + ("-merged" if merge else "")
    if release.hub:
        note = f" ({outcome.reason})" if outcome.reason else ""
        console.print(f"Published ({access}): {escape(release.hub.url)}{note}")
        return
    push = typed(run, release.repo_id, release.private, merge)
    if outcome.staged:
        console.print(f"Not uploaded: {escape(str(outcome.reason))}")
        console.print(f"The complete folder is {escape(str(outcome.staged))}. To upload it later:")
    else:
        card = f"Card: {escape(str(run / 'README.md'))}"
        console.print(f"Merged model: {escape(str(run / 'merged'))}" if merge else card)
        console.print(f"Nothing was uploaded. To upload to {escape(where)} ({access}):")
    console.print(f"  {escape(push)}")
