"""What the base says of texts under neutral prompts, before anything is trained. Trains nothing.

It is computed once, by the processes together, and kept in the run's folder: a run of days that is
gone on with a hundred times is not to ask its base a hundred times.
"""

from __future__ import annotations

import logging
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from wm_train import columns, processes, sharded
from wm_train.telling import telling

if TYPE_CHECKING:
    from rich.console import Console

    from wm_manifest import RunManifest
    from wm_train.trainer import WatermarkOrpoTrainer

log = logging.getLogger(__name__)

Logps = NDArray[np.float32]
NONE: Logps = np.empty(0, dtype=np.float32)
TEXTS = 64  # packed together: enough to fill passes, and few enough for a bar to move
WHAT = "what the base says under neutral prompts"
NAME = "references.npz"


def attach(
    trainer: WatermarkOrpoTrainer,
    console: Console | None = None,
    kept: Path | None = None,
    of: str = "",
) -> None:
    """Give each example with a neutral prompt a `reference`: log-probabilities of its tokens.

    Of the examples that training comes to, that is: a trial of some steps is not to wait for all.

    They are those of the answer's tokens under that prompt, by the trainer's model as it is now. A
    model that has begun to train is no reference: call it before a checkpoint is loaded. In the
    file `kept` they are found the next time, where it is `of` the same base and rows.
    """
    data, seen = cast(Any, trainer.train_dataset), trainer.seen()
    shown = [
        at for at in np.flatnonzero(columns.lengths(data, "neutral_ids")).tolist() if at in seen
    ]
    if not shown:
        return
    found = processes.of_main(lambda: _read(kept, of, shown) if kept else None)
    if found is None:
        found = _ask(trainer, shown, console)
        if kept is not None:
            _write(kept, of, found)
    column = [found.get(at, NONE) for at in range(len(data))]
    trainer.train_dataset = _with_column(data, column)
    if console is not None:
        console.print(f"{len(found):,} texts under neutral prompts are held to what the base says")


def key(manifest: RunManifest) -> str:
    """What the references are of: a base and its tokenizer, and the rows of a dataset."""
    base, dataset = manifest.base, manifest.dataset
    rows = dataset.manifest_sha256 if dataset else None
    parts = (base.location, base.revision, manifest.base_weights_sha256, manifest.tokenizer_sha256)
    return "\n".join(map(str, (*parts, manifest.chat_template_sha256, rows)))


def _ask(
    trainer: WatermarkOrpoTrainer, shown: list[int], console: Console | None
) -> dict[int, Logps]:
    """The references of all processes, each of which makes its part."""
    mine = shown[processes.rank() :: processes.number()]
    most = len(shown[:: processes.number()])  # of the process that has the most
    found: dict[int, Logps] = {}
    with telling(console, WHAT, most, "texts") as advance:
        for start in range(0, most, TEXTS):
            places = mine[start : start + TEXTS]
            found |= dict(zip(places, _log_probabilities(trainer, places, shown[0]), strict=True))
            advance(min(TEXTS, most - start))
    for part in processes.gathered(found):
        found |= part
    return found


def _read(path: Path, of: str, shown: list[int]) -> dict[int, Logps] | None:
    """References that were kept; None, and a line of the log, where they are no use."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["of"]) != of or file["places"].tolist() != shown:
                raise ValueError("it is of another base, or of other rows")
            parts = np.split(file["logps"], file["lengths"].cumsum()[:-1])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is not used, the base is asked again: %s", path, error)
        return None
    return dict(zip(shown, parts, strict=True))


def _write(path: Path, of: str, found: Mapping[int, Logps]) -> None:
    places = sorted(found)
    staging = path.with_name(f".tmp.{path.name}")  # ends in .npz: numpy would append it
    try:
        np.savez(
            staging,
            of=np.array(of),
            places=np.array(places),
            lengths=np.array([len(found[at]) for at in places]),
            logps=np.concatenate([found[at] for at in places]),
        )
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _log_probabilities(trainer: WatermarkOrpoTrainer, places: list[int], spare: int) -> list[Logps]:
    """Of each token of the chosen answers at `places`, in the arithmetic of training.

    A pass of a model in parts is made by all processes together: one that has fewer of them fills
    up with the answer at `spare`.
    """
    model, data = cast(Any, trainer.model), cast(Any, trainer.train_dataset)
    training: bool = model.training
    model.eval()  # an answer that dropout has touched is not the base's
    packs = trainer.packing.neutral([data[at] for at in places])
    if sharded.is_sharded(model):
        filling, _ = trainer.packing.neutral([data[spare]])[0]
        packs += [(filling, [])] * (processes.highest(len(packs)) - len(packs))
    found: dict[int, Logps] = {}
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            for pack, texts in packs:
                pack = pack.to(trainer.accelerator.device)
                logps = trainer.edge_logps(model, pack)[pack.answer_edges].float().cpu().numpy()
                ends = pack.answer_lengths.cumsum(0).cpu().numpy()
                if texts:
                    found |= dict(zip(texts, np.split(logps, ends[:-1]), strict=True))
    finally:
        model.train(training)
        sharded.let_go(model)
    return [found[number] for number in range(len(places))]


def _with_column(data: Any, column: list[Logps]) -> Any:
    from datasets import List, Value

    new = uuid.uuid4().hex  # never cached; a hash of the table would copy it
    return data.add_column("reference", column, new_fingerprint=new, feature=List(Value("float32")))
