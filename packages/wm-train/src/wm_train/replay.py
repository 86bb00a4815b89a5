"""Runs a finished run again from its manifest, and says whether the same came out.

Takes from the manifest what it holds (fields, seeds, the dataset's recipe or hash) and from this
machine the rest (code, packages, hardware), and names every difference before it starts.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pydantic
from rich.console import Console

import wm_data
import wm_score
from wm_data.recipe import Recipe, first_fault
from wm_data.workers import cores
from wm_manifest import DatasetManifest, RunManifest, load
from wm_manifest.weights import weights_sha256
from wm_train import base, checkout, neutral, provenance
from wm_train.config import TrainConfig
from wm_train.differences import Difference, Figure, differences, figures, short
from wm_train.errors import ConfigError
from wm_train.origin import Origin
from wm_train.record import dataset_use
from wm_train.saying import say
from wm_train.summary import interval, value

SAME, DIFFERENT = 0, 1  # exit codes; a replay that cannot start is an error, and 2


def replay(origin: Origin, run_dir: Path, command: list[str], console: Console) -> int:
    """Train in `run_dir`, which is there and empty, as `origin` was. Returns the exit code."""
    from wm_train.run import train

    then = origin.manifest
    scratch = Path(tempfile.mkdtemp(prefix=f".{run_dir.name}.", dir=run_dir.parent))
    try:
        dataset = bring_dataset(origin, scratch / "dataset", console)
        expected = here(then, origin.config, dataset, scratch)
        announce(then, expected, console)
        config = _alone(_with_dataset(origin.config, dataset))
        now = train(config, run_dir, then.preset, command, console)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return verdict(then, now, console)


def check(origin: Origin, runs_dir: Path, console: Console) -> int:
    """Bring the dataset, name what differs, train nothing. 0: nothing known differs, else 1."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".replay.", dir=runs_dir))
    try:
        dataset = bring_dataset(origin, scratch / "dataset", console)
        now = here(origin.manifest, origin.config, dataset, scratch)
        differ = announce(origin.manifest, now, console)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return DIFFERENT if differ else SAME


def bring_dataset(origin: Origin, scratch: Path, console: Console) -> Path:
    """The run's own dataset folder when it is there and unaltered; else one built anew."""
    use = origin.manifest.dataset
    assert use is not None, "find() refuses a run without a dataset"
    places = [origin.folder / use.path] if origin.folder else []
    places += [origin.config.data.path] if origin.config.data.path else []
    for folder in places:
        path = folder / "manifest.json"
        if path.is_file() and provenance.sha256(path) == use.manifest_sha256:
            wm_data.read(folder)  # every file against its hash
            say(console, f"dataset: {folder}, unaltered")
            return folder
    say(console, f"dataset: built anew from the recipe of {use.name}")
    try:
        recipe = Recipe.model_validate(use.recipe)
    except pydantic.ValidationError as error:
        raise ConfigError(
            f"{origin.source}: this version of wm-data cannot read the dataset's recipe: "
            f"{first_fault(error)}"
        ) from error
    pinned = {s.id: f"{s.location}@{s.revision}" for s in use.sources if s.kind == "hub"}
    wm_data.build(
        recipe,
        scratch,
        seed=use.seed,
        limit=use.limit or origin.config.data.limit,
        on_bad_row=use.on_bad_row,
        progress=console.is_terminal,
        places=pinned,
        workers=cores(),
    )
    return scratch


def here(then: RunManifest, config: TrainConfig, dataset: Path, scratch: Path) -> RunManifest:
    """`then` with this machine, this code and this dataset in it: what a replay would record."""
    described = load(DatasetManifest, dataset / "manifest.json")
    return then.model_copy(
        update={
            "packages": provenance.versions(config.model.four_bit),
            "python": provenance.python_version(),
            "hardware": provenance.hardware(),
            "git": checkout.state(scratch),
            "lock_sha256": provenance.lock_sha256(),
            "codebook": f"{wm_score.CODEBOOK} {wm_score.COUNTED_SHA256}",
            "dataset": dataset_use(described, dataset, dataset.parent),
            "templates": neutral.trained_with(described.templates, config.loss.neutral.rows()),
            "attempts": [],
            "processes": 1,
            "base_weights_sha256": _base_weights(then),
        }
    )


def _base_weights(then: RunManifest) -> str | None:
    """Of the base that the run names; one that is built here is known when it is built."""
    named = str(then.config["model"]["base"])
    if then.base_weights_sha256 is None or named in base.BUILT:
        return then.base_weights_sha256
    return weights_sha256(Path(named))


def announce(then: RunManifest, now: RunManifest, console: Console) -> list[Difference]:
    """Print what is repeated, and each thing that is not as it was; returns these."""
    weights = short(then.weights_sha256)
    say(console, f"replay of {then.name}: {then.steps:,} steps, weights {weights}")
    found = differences(then, now)
    for each in found:
        say(console, f"differs: {each}", "yellow")
    if not found:
        say(console, "nothing known differs: code, packages, machine, dataset and prompts")
    return found


def verdict(then: RunManifest, now: RunManifest, console: Console) -> int:
    """Print how the two runs compare; 0 when the replay confirms the run, 1 when it does not.

    On the same stack the weights have to be the same. Where something differs, and was named,
    every figure's interval has to meet the run's.
    """
    if now.weights_sha256 == then.weights_sha256:
        say(console, f"confirmed: the same weights, bit for bit: {now.weights_sha256}", "green")
        return SAME
    pair = f"{short(then.weights_sha256)} then, {short(now.weights_sha256)} now"
    say(console, f"other weights: {pair}")
    compared = list(figures(then, now))
    for each in compared:
        say(console, f"  {_line(each)}", None if each.agree else "red")
    found = differences(then, now)
    if not found:
        say(console, "not confirmed: the stack is the same, and so should the weights be", "red")
        return DIFFERENT
    agree = bool(compared) and all(each.agree for each in compared)
    text = "confirmed by its figures" if agree else "not confirmed: figures differ"
    names = ", ".join(dict.fromkeys(each.what for each in found))
    say(console, f"{text}; what is not as it was: {names}", "green" if agree else "red")
    return SAME if agree else DIFFERENT


def _line(figure: Figure) -> str:
    then, now = (
        f"{value(f)} ({interval(f)}, n = {f.n})" if f else "not measured"
        for f in (figure.then, figure.now)
    )
    agree = "agrees" if figure.agree else "differs"
    return f"{figure.name}: {then} then, {now} now: {agree}"


def _alone(config: TrainConfig) -> TrainConfig:
    """The run as one process makes it: a step is the same of parts and of the whole."""
    model = config.model.model_copy(update={"sharded": False})
    return config.model_copy(update={"model": model})


def _with_dataset(config: TrainConfig, folder: Path) -> TrainConfig:
    data = config.data.model_copy(update={"recipe": None, "path": folder, "limit": None, "seed": 0})
    return config.model_copy(update={"data": data})
