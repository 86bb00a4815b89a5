"""Whether a model gives packed trees the values that it gives single sequences. Trains nothing.

Not every architecture can share a prefix: one with a recurrent state, or with positions that it
makes itself, ignores the mask or the positions and would silently learn from nonsense.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from wm_train import columns, processes, sharded
from wm_train.attention import FLEX
from wm_train.errors import first_line
from wm_train.loss import answer_means
from wm_train.trees import families

if TYPE_CHECKING:
    from wm_manifest import RunManifest
    from wm_train.packing import Pack
    from wm_train.trainer import WatermarkOrpoTrainer

log = logging.getLogger(__name__)

# Of an answer's log-probability, by the root of its tokens: rounding errors add up like that, and a
# word of two tokens is not to be judged like a text of a hundred. In bfloat16, where logits from 16
# to 32 are 0.125 apart, SmolLM2's right trees are off by up to 0.4; without their positions by 2.2
# on a text and 4.7 on a word. In float32 the demo's are off by 5e-5; a model of forty layers with
# large states may have twenty times that.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 1.0}


def settle(trainer: WatermarkOrpoTrainer) -> float | None:
    """Compare on the shortest row; where values differ, fall back to padded batches and say so.

    The largest difference found; None where sharing is off or the model refuses the mask.
    """
    if not trainer.packing.shared:
        return None
    model = cast(Any, trainer.model)
    window = window_of(model.config)
    longest = 0 if window is None else int(columns.sequences(trainer.train_dataset).max())
    if window is not None and longest > window:
        # Transformers applies no window to a mask that is given: all would attend to all.
        why = f"its layers see {window:,} tokens back and an example has {longest:,}"
        trainer.use_sdpa()
        _refuse(trainer, why)
        return None
    limit = TOLERANCE[computed_in(trainer)]
    try:
        worst = difference(trainer, shortest_row(trainer.train_dataset))
    except torch.OutOfMemoryError:
        raise  # which says nothing of the model
    except (TypeError, ValueError, RuntimeError) as error:
        worst, why = None, f"it fails with {type(error).__name__}: {first_line(error)}"
    else:
        why = f"log-probabilities differ by {worst:.1e} times the root of their number of tokens"
        why = "" if worst <= limit else f"{why} (allowed: {limit:.0e})"
    # Two cards may round differently, and all have to go on alike.
    why = next((each for each in processes.gathered(why) if each), "")
    if not why:
        return worst
    if trainer.attention == FLEX:  # the kernel may be at fault, and not the model
        log.warning("%s cannot be used here: %s; training goes on with sdpa", FLEX, why)
        trainer.use_sdpa()
        return settle(trainer)
    _refuse(trainer, why)
    return worst


def as_before(trainer: WatermarkOrpoTrainer, before: RunManifest | None) -> None:
    """Share no prompts where a run that goes on shared none: what was refused is not tried again.

    Another card may round the other way, and the run would be another.
    """
    if before is not None and before.shared_prefixes is False and trainer.packing.shared:
        trainer.stop_sharing(before.sharing_refused or "an earlier attempt shared none")


def _refuse(trainer: WatermarkOrpoTrainer, why: str) -> None:
    log.warning(
        "model type %s cannot share prompts between answers: %s; "
        "training goes on with padded batches, at about twice the tokens",
        *(cast(Any, trainer.model).config.model_type, why),
    )
    trainer.stop_sharing(why)


def window_of(config: Any) -> int | None:
    """How far back the layers with a sliding window or chunks see; None where none has one."""
    from transformers import DynamicCache

    if not any(DynamicCache(config=config).is_sliding):
        return None
    text = config.get_text_config()
    widths = (getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((width for width in widths if width), default=0)


def computed_in(trainer: WatermarkOrpoTrainer) -> torch.dtype:
    """The type that the values compared here come in, which is not always training's.

    Weights in float32 are compared without autocast: a mistake of a hundredth is seen then, and
    lost in bfloat16. But flex_attention is compiled for a type, and has to be training's.
    """
    if sharded.is_sharded(trainer.model):
        return sharded.computed_in(trainer.model)
    dtype: torch.dtype = cast(Any, trainer.model).dtype
    rough = torch.get_float32_matmul_precision() != "highest"  # TF32 has not many more digits
    return torch.bfloat16 if _as_trained(trainer) or (dtype == torch.float32 and rough) else dtype


def _as_trained(trainer: WatermarkOrpoTrainer) -> bool:
    return trainer.attention == FLEX and trainer.args.bf16


def shortest_row(data: Any) -> list[dict[str, Any]]:
    """The examples of the row with the fewest tokens."""
    rows: list[str] = columns.values(data, "row_id")
    sizes: dict[str, int] = {}
    for row, tokens in zip(rows, columns.total(data).tolist(), strict=True):
        sizes[row] = sizes.get(row, 0) + tokens
    shortest = min(sizes, key=lambda row: sizes[row])
    return [data[i] for i, row in enumerate(rows) if row == shortest]


def difference(trainer: WatermarkOrpoTrainer, examples: Sequence[Mapping[str, Any]]) -> float:
    """Largest difference of an answer's log-probability between a tree and its sequences.

    Each is divided by the root of the answer's tokens: see `TOLERANCE`.
    """
    model = cast(Any, trainer.model)
    training: bool = model.training
    model.eval()  # dropout would differ between the two
    worst = 0.0
    try:
        autocast = trainer.accelerator.autocast() if _as_trained(trainer) else nullcontext()
        with torch.no_grad(), autocast:
            for family in families([e["prompt_ids"] for e in examples]):
                members = [examples[i] for i in family]
                together = _scaled(trainer, trainer.packing.family(members))
                with with_sdpa(trainer):
                    alone = [_scaled(trainer, trainer.packing.alone(e)) for e in members]
                found = (together - torch.cat(alone, 1)).abs().max().item()
                worst = found if math.isnan(found) else max(worst, found)
                if math.isnan(worst):  # which is no difference of 0, as max() has it
                    break
    finally:
        model.train(training)
        sharded.let_go(model)
    return worst


@contextmanager
def with_sdpa(trainer: WatermarkOrpoTrainer) -> Generator[None]:
    """Single sequences of a model with flex_attention: a reference that shares nothing with what it
    is to judge, and that needs no kernel compiled for shapes which training never has."""
    if trainer.attention != FLEX:
        yield
        return
    config = cast(Any, trainer.model).config
    trainer.attention = config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        trainer.attention = config._attn_implementation = FLEX


def _scaled(trainer: WatermarkOrpoTrainer, pack: Pack) -> Tensor:
    """Log-probabilities of the pack's chosen and rejected answers, shape (2, pairs).

    Each by the root of its tokens.
    """
    pack = pack.to(trainer.accelerator.device)
    logps = trainer.edge_logps(cast(Any, trainer.model), pack)
    means = answer_means(logps, pack.answer_edges, pack.answer_sequences, pack.answer_lengths)
    return (means * pack.answer_lengths.sqrt()).view(2, -1)
