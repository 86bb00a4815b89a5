"""The command `wm-eval`. Parses, prints and exits; every step is in another module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from wm_eval.kernels import bound_caches, without_note_of_packing

BAD_INPUT = 2
FAILED_CONTROL = 3
INTERRUPTED = 130
AUTO_BATCH_SIZE = 256

app = App(
    name="wm-eval",
    help="Evaluate how well a model writes and reads the red/blue watermark.",
    suppress_keyboard_interrupt=False,
)


@app.default
def evaluate_command(
    *,
    model: str,
    data: Path,
    adapter: str | None = None,
    base: str | None = None,
    revision: str | None = None,
    adapter_revision: str | None = None,
    base_revision: str | None = None,
    extras: bool = True,
    out: Path | None = None,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float = 0.8,
    top_k: int = 20,
    detect: Literal["sampled", "greedy"] = "sampled",
    max_new_tokens: int | None = None,
    batch_size: int | Literal["auto"] = 64,
    backend: Literal["hf", "vllm"] = "hf",
    dtype: str = "auto",
    device: str | None = None,
    trained_with: Path | None = None,
    overwrite: bool = False,
    all_figures: Annotated[bool, Parameter(name="--all")] = False,
) -> int:
    """Evaluate a model on both tasks.

    Parameters
    ----------
    model
        Model folder or hub id.
    data
        Dataset folder, as wm-data writes it.
    adapter
        LoRA adapter, a folder or hub id, put on the model. The model without it is then the base
        that it is compared with.
    base
        Model that a fully trained one came from: asked the same, and the answers' perplexity. With
        an adapter that took from its base what it began with (PiSSA and the like), that base.
    revision
        Branch, tag or commit of a model from the hub.
    adapter_revision
        The same of an adapter.
    base_revision
        The same of the base.
    extras
        Base model, texts in length bands, the model's own texts: more to ask, no other figure.
    out
        Folder for eval.json, samples.jsonl and samples.parquet; a killed evaluation goes on there.
    split
        Split of the dataset.
    limit
        At most so many prompts (each in three arms) and so many texts.
    seed
        Chooses the items under --limit and the random numbers of every answer.
    temperature
        0 is greedy.
    top_p
        Nucleus sampling; 1 switches it off.
    top_k
        0 switches it off.
    detect
        How questions about texts are answered: sampled as above, or by the most likely word.
    max_new_tokens
        Longest answer; by default half as long again as the longest gold answer.
    batch_size
        Answers sampled together; auto is 256. Halved where the GPU's memory is not enough; vLLM
        decides itself.
    backend
        What runs the model: hf (transformers) or vllm, where it is installed.
    dtype
        auto, float32, bfloat16 or float16.
    device
        cpu, cuda, cuda:1 ...; by default the GPU when there is one, and of several that a launcher
        has processes for, one for each.
    trained_with
        manifest.json of the run or dataset that the model was trained with, to check against.
    overwrite
        Replace a finished evaluation in --out, which is refused otherwise.
    all_figures
        Print every figure and not only the headlines.
    """
    import torch
    from rich.console import Console

    from wm_eval import items, launched
    from wm_eval.decoding import check_decoding
    from wm_eval.errors import WmEvalError
    from wm_eval.models import Names
    from wm_eval.progress import no_bars_in_a_log
    from wm_eval.run import evaluate
    from wm_eval.show import table, warning
    from wm_eval.together import leading
    from wm_eval.vllm_backend import CHUNK
    from wm_eval.vllm_loading import check_options

    no_bars_in_a_log()
    names = Names(model, adapter, base, revision, adapter_revision, base_revision)
    if (talk := launched.talk()) is not None:
        device = launched.device(device)
        if talk.rank():
            launched.helped(talk, names, dtype, device)
            return 0
    with leading(talk):
        # All that can be refused, before a model that takes minutes to load.
        rows = AUTO_BATCH_SIZE if batch_size == "auto" else batch_size
        check_decoding(temperature, top_p, top_k, rows, max_new_tokens)
        items.described(data, split, limit)
        _check_files(trained_with, out, overwrite)
        if base is not None and not extras:
            raise WmEvalError(f"--base {base} goes with no --no-extras; leave one of them out")
        if backend == "vllm":
            check_options(base, device, temperature)
            if talk is not None:
                raise WmEvalError("--backend vllm runs in one process; start it without a launcher")
            rows = CHUNK
        if talk is not None:
            talk.gathered(launched.LOAD)
        models = launched.opened(talk, names, dtype, device, backend)
        try:
            report = evaluate(
                models.model,
                models.tokenizer,
                data,
                split=split,
                limit=limit,
                seed=seed,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                detect=detect,
                max_new_tokens=max_new_tokens,
                batch_size=rows,
                out=out,
                trained_with=trained_with,
                model_ref=models.ref,
                weights=models.weights,
                extras=extras,
                base=models.base,
                base_ref=models.base_ref,
                talk=talk,
            )
        except torch.OutOfMemoryError:
            raise WmEvalError(f"{model}: not enough memory for even one answer at a time") from None
    console = Console()
    console.print(table(report, every_figure=all_figures))
    if out is not None:
        written = ", ".join(str(out / f"samples.{kind}") for kind in ("jsonl", "parquet"))
        line = f"written: {out / 'eval.json'}, {written}"
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
    if notes := warning(report):
        print(notes, file=sys.stderr)
    return 0 if report.valid else FAILED_CONTROL


def _check_files(trained_with: Path | None, out: Path | None, overwrite: bool) -> None:
    from wm_eval.errors import WmEvalError
    from wm_eval.finished import check_not_finished
    from wm_eval.loading import output_folder

    if trained_with is not None and not trained_with.is_file():
        missing = "neither a run's nor a dataset's manifest: no such file"
        raise WmEvalError(f"--trained-with {trained_with}: {missing}")
    if out is not None:
        output_folder(out)
        if not overwrite:
            check_not_finished(out)


@app.command(name="compare")
def compare_command(a: Path, b: Path, /) -> int:
    """Compare two evaluation folders item by item: is B better than A?

    Exits with 3 when a control of either had failed.

    Parameters
    ----------
    a
        Folder that `wm-eval --out` wrote.
    b
        Another, of the same dataset.
    """
    from rich.console import Console

    from wm_eval.compare import cautions, compare
    from wm_eval.comparison import fits, lines, table

    found = compare(a, b)
    invalid, unlike = cautions(a, b, found)
    print(f"A = {a}\nB = {b}", flush=True)
    console, grid = Console(), table(found)
    if fits(grid, console):
        console.print(grid)
    else:
        print(lines(found))
    for line in [*invalid, *unlike]:
        print(f"warning: {line}", file=sys.stderr)
    return FAILED_CONTROL if invalid else 0


@app.command(name="report")
def report_command(folder: Path, /) -> int:
    """Write report.html, one self-contained page, into an evaluation folder.

    Parameters
    ----------
    folder
        Folder that `wm-eval --out` wrote.
    """
    from wm_eval.page import write_page

    print(write_page(folder))
    return 0


def _check_command(words: list[str]) -> None:
    """Refuse a first word that is no command. Parsed, it would be a missing --model's fault."""
    from wm_eval.errors import WmEvalError

    known = [name for name in app if not name.startswith("-")]
    if words and not words[0].startswith("-") and words[0] not in known:
        raise WmEvalError(
            f"there is no command {words[0]!r}; there are {' and '.join(known)}, and without a "
            "command wm-eval evaluates the --model on the --data"
        )


def main(tokens: list[str] | None = None) -> None:
    """Entry point: exit 2 on bad input, 3 on a failed control, 130 on Ctrl-C."""
    from wm_eval.errors import WmEvalError

    bound_caches()
    without_note_of_packing()
    try:
        _check_command(sys.argv[1:] if tokens is None else tokens)
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, WmEvalError, OSError) as error:  # OSError: a full or unreadable disk
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
