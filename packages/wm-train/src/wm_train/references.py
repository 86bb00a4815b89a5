"""What the base says of texts under neutral prompts, before anything is trained. Trains nothing.

It is computed at each start of a run, by the processes together, and not kept in a file: of the
base, the dataset and the machine it is a plain consequence.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from wm_train import processes

if TYPE_CHECKING:
    from rich.console import Console

    from wm_train.trainer import WatermarkOrpoTrainer

Logps = NDArray[np.float32]
NONE: Logps = np.empty(0, dtype=np.float32)
TEXTS = 64  # packed together: enough to fill passes, and few enough for a bar to move


def attach(trainer: WatermarkOrpoTrainer, console: Console | None = None) -> None:
    """Give each example with a neutral prompt a `reference`: log-probabilities of its tokens.

    Of the examples that training comes to, that is: a trial of some steps is not to wait for all.

    They are those of the answer's tokens under that prompt, by the trainer's model as it is now. A
    model that has begun to train is no reference: call it before a checkpoint is loaded.
    """
    from rich.progress import Progress

    data, seen = cast(Any, trainer.train_dataset), trainer.seen()
    shown = [at for at, prompt in enumerate(data["neutral_ids"]) if prompt and at in seen]
    if not shown:
        return
    mine = shown[processes.rank() :: processes.number()]
    found: dict[int, Logps] = {}
    with Progress(
        console=console, disable=console is None or not console.is_terminal, transient=True
    ) as bar:
        for start in bar.track(
            range(0, len(mine), TEXTS), description="what the base says under neutral prompts"
        ):
            places = mine[start : start + TEXTS]
            found |= dict(zip(places, _log_probabilities(trainer, places), strict=True))
    for part in processes.gathered(found):
        found |= part
    column = [found.get(at, NONE) for at in range(len(data))]
    trainer.train_dataset = _with_column(data, column)
    if console is not None:
        console.print(f"{len(found):,} texts under neutral prompts are held to what the base says")


def _log_probabilities(trainer: WatermarkOrpoTrainer, places: list[int]) -> list[Logps]:
    """Of each token of the chosen answers at `places`, in the arithmetic of training."""
    model, data = cast(Any, trainer.model), cast(Any, trainer.train_dataset)
    training: bool = model.training
    model.eval()  # an answer that dropout has touched is not the base's
    found: dict[int, Logps] = {}
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            for pack, texts in trainer.packing.neutral([data[at] for at in places]):
                pack = pack.to(trainer.accelerator.device)
                logps = trainer.edge_logps(model, pack)[pack.answer_edges].float().cpu().numpy()
                ends = pack.answer_lengths.cumsum(0).cpu().numpy()
                found |= dict(zip(texts, np.split(logps, ends[:-1]), strict=True))
    finally:
        model.train(training)
    return [found[number] for number in range(len(places))]


def _with_column(data: Any, column: list[Logps]) -> Any:
    from datasets import List, Value

    new = uuid.uuid4().hex  # never cached; a hash of the table would copy it
    return data.add_column("reference", column, new_fingerprint=new, feature=List(Value("float32")))
