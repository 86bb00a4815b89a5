"""The command `wm-data`. Parses, prints and sets the exit code; the work is done elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console, RenderableType

from wm_data.errors import WmDataError
from wm_score.visible import visible

app = App(
    name="wm-data",
    help="From seed rows to an audited ORPO dataset.",
    suppress_keyboard_interrupt=False,
)


@app.command
def build(
    *,
    recipe: str,
    out: Path,
    seed: int = 0,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    source: dict[str, str] | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    workers: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    overwrite: bool = False,
) -> None:
    """Build a dataset folder.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or a YAML file.
    out
        The folder to make.
    seed
        Chooses wordings, order and, for the demo, words.
    limit
        Keep about this many rows, at least one of every split; all are read and judged first.
    source
        Where a source of the recipe is: a path, or `--source.high OWNER/NAME@REVISION:SPLIT,SPLIT`
        of the hub, where revision and splits may be left out.
    on_bad_row
        What to do with an empty, missing or unreadable field: stop, or drop the row and count it.
    workers
        Processes that judge the rows of a long source; as many as there are cores if not given.
    overwrite
        Replace the folder if it is there and a dataset.
    """
    from wm_data.build import build as run
    from wm_data.show import summary
    from wm_data.workers import cores

    manifest = run(
        recipe, out, seed, limit, overwrite=overwrite, on_bad_row=on_bad_row, places=source,
        workers=workers or cores(),
    )  # fmt: skip
    _print(*summary(manifest, out))


@app.command
def show(folder: Path) -> None:
    """Check a dataset folder against its manifest and print what is in it.

    Parameters
    ----------
    folder
        A folder made by `wm-data build`.
    """
    from wm_data.dataset import read
    from wm_data.show import rows, summary

    dataset = read(folder)
    _print(*summary(dataset.manifest, folder), *rows(dataset))


@app.command
def audit(
    source: str,
    *,
    out: Path,
    seed: int = 0,
    on_bad_row: Literal["error", "skip"] = "skip",
    overwrite: bool = False,
) -> None:
    """Judge the rows of a recipe or of a data file and draw what was found.

    Parameters
    ----------
    source
        A recipe (name or file), a data file or folder, or OWNER/NAME of the hub.
    out
        The folder for audit.html and its pictures.
    seed
        For the demo: which rows are drawn.
    on_bad_row
        What to do with an empty or missing field: count it as a drop, or stop.
    overwrite
        Replace the folder if it is there and an audit's.
    """
    from wm_data.audit import audit as judge
    from wm_data.placing import recipe_of
    from wm_data.progress import tracked
    from wm_data.report import is_report, null_figures, write_report
    from wm_data.show import verdicts, written
    from wm_data.sources import open_source
    from wm_data.store import staged
    from wm_data.workers import cores

    recipe = recipe_of(source)
    # First of all: a folder that must not be replaced is known before the rows are judged.
    with staged(out, is_report if overwrite else None) as folder:
        opened = [open_source(item, seed, on_bad_row) for item in recipe.sources]
        rows = (row for item in opened for row in item.rows)
        measured = list(judge(tracked(rows, "auditing rows", True), recipe.audit, cores()))
        null = null_figures(measured, progress=True)
        write_report(measured, null, source, folder)
    _print(*verdicts(measured, null), written(out / "audit.html"))


@app.command
def generate(
    *,
    model: str,
    prompts: str,
    out: Path,
    n: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    bias: float | None = None,
    unmarked: bool = False,
    per_prompt: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    seed: int = 0,
    temperature: Annotated[float, Parameter(validator=Number(gt=0))] = 0.8,
    top_k: Annotated[int, Parameter(validator=Number(gte=1))] = 50,
    top_p: Annotated[float, Parameter(validator=Number(gt=0, lte=1))] = 0.95,
    max_tokens: Annotated[int, Parameter(validator=Number(gte=1))] = 96,
    min_counted: Annotated[int, Parameter(validator=Number(gte=1))] = 20,
    max_length_ratio: Annotated[float, Parameter(validator=Number(gte=1))] = 1.15,
    tries: Annotated[int, Parameter(validator=Number(gte=1))] = 4,
    batch: Annotated[int, Parameter(validator=Number(gte=1))] = 32,
    overwrite: bool = False,
) -> None:
    """Write seed rows with a language model, leaning on even or odd tokens as it samples.

    A run that was stopped goes on where it was when the same command is given again.

    Parameters
    ----------
    model
        `smollm2-135m`, a folder, or OWNER/NAME of the hub: any causal model with a chat template.
    prompts
        A .txt (one a line), a .jsonl with the field `prompt`, a dataset folder (the prompts of its
        test split), or `everyday`, which is shipped.
    out
        The JSON lines file of the rows. Its journal, with all settings, is beside it: OUT.log.
    n
        Rows wanted; if not given, as many as there are prompts, times PER_PROMPT.
    bias
        Added to the logits of even tokens for red, of odd ones for blue; 1.0 if not given.
    unmarked
        Write texts without any bias, one a row, for `unmarked` in a recipe.
    per_prompt
        Rows of each prompt.
    seed
        Every answer's random seed follows from it, the prompt, the colour and the attempt.
    temperature, top_k, top_p
        How tokens are drawn, after the bias.
    max_tokens
        Tokens sampled for an answer at most; it is then cut after a sentence.
    min_counted
        Counted tokens that an answer needs.
    max_length_ratio
        Characters of the longer answer over those of the shorter one, at most.
    tries
        Answers sampled for a prompt and colour before the prompt is dropped.
    batch
        Answers sampled at once.
    overwrite
        Begin anew if the file is there.
    """
    from wm_data.decoding import Decoding
    from wm_data.generate import generate as run
    from wm_data.recipe import AuditRules
    from wm_data.show import generated, written

    if unmarked and bias:
        raise WmDataError(f"--unmarked writes without a bias; got --bias {bias}; leave one out")
    bias = 0.0 if unmarked else 1.0 if bias is None else bias
    how = Decoding(bias, temperature, top_k, top_p, max_tokens)
    rules = AuditRules(min_counted=min_counted, max_length_ratio=max_length_ratio)
    done = run(
        model, prompts, out, how, n, seed, rules, tries, batch, overwrite,
        unmarked=unmarked, per_prompt=per_prompt,
    )  # fmt: skip
    _print(*generated(done, n), written(out))


@app.command
def push(
    folder: Path,
    repo: str,
    *,
    public: bool = False,
    force: bool = False,
    with_keys: bool = False,
    dry_run: bool = False,
) -> None:
    """Upload a dataset folder to the hub, in one commit; in none when nothing has changed.

    Parameters
    ----------
    folder
        A folder made by `wm-data build`.
    repo
        OWNER/NAME; made when it is not there.
    public
        Make a new repository public, or publish to one that is; a new one is private otherwise.
    force
        Upload into a repository that holds other files than a dataset of wm-data.
    with_keys
        Upload although texts hold what looks like a key.
    dry_run
        List what would be uploaded, and upload nothing.
    """
    from wm_data.push import files_of, opened
    from wm_data.push import push as upload

    if dry_run:
        print(*files_of(opened(folder, repo, with_keys)), sep="\n")
    else:
        print(upload(folder, repo, not public, force, with_keys).url)


def _print(*parts: RenderableType) -> None:
    """Print what was done. A terminal that cannot show it does not undo it."""
    try:
        Console().print(*parts, sep="\n")
    except UnicodeEncodeError as error:
        raise WmDataError(
            f"standard output: all is done but cannot be shown in {error.encoding}; set "
            "PYTHONIOENCODING=utf-8"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 for bad input, or 130 after Ctrl-C."""
    try:
        app(argv, exit_on_error=False, print_error=False, result_action="return_value")
    except WmDataError as error:
        return _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(where + (error.strerror or str(error)))
    except Exception as error:
        if type(error).__module__.startswith("cyclopts"):
            return _fail(" ".join(str(error).split()))
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print(f"error: {visible(message)}", file=sys.stderr)
    return 2
