"""A model of which each process keeps a part (FSDP2): how it is loaded, saved, and made whole.

Transformers divides it while it is loaded, so that no process ever holds it all, and Trainer trains
it. What neither does is here: a state to go on from, and whole models to evaluate and to publish.
Every function here has to be called by all processes, for weights and optimizer lie in all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from wm_train import processes
from wm_train.errors import WmTrainError

if TYPE_CHECKING:
    from torch import nn

    from wm_train.config import ModelConfig

OPTIMIZER = "optimizer"  # a folder in a checkpoint: a file of each process
SCHEDULER = "scheduler.pt"


class WholeModelError(WmTrainError):
    """A device holds a part of the model, and not the whole of it beside that."""


def loading(config: ModelConfig) -> dict[str, Any]:
    """What `from_pretrained` is told so that each process keeps its part of every weight.

    In bfloat16 the parts stay in float32, and what is gathered for a layer's pass is bfloat16;
    gradients are summed in float32.
    """
    if not config.sharded:
        return {}
    from transformers.distributed.configuration_utils import DistributedConfig

    return {
        "distributed_config": DistributedConfig(
            fsdp_size=processes.number(), fsdp_mixed_precision=config.precision == "bfloat16"
        )
    }


def is_sharded(model: Any) -> bool:
    """Whether each process has a part of this model."""
    return isinstance(model, FSDPModule)


def computed_in(model: Any) -> torch.dtype:
    """The type that layers of a sharded model compute in, whatever its parts are kept in."""
    half: bool = model.config.distributed_config.fsdp_mixed_precision
    return torch.bfloat16 if half else cast(torch.dtype, model.dtype)


def let_go(model: nn.Module) -> None:
    """Leave each process its part again, after a forward pass that no backward pass followed.

    The head and the last norm (and with the head the embeddings, where they are one) stay whole
    until then. An optimizer made meanwhile would hold them so: stepped, and forgotten.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def whole(
    model: Any,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    main_alone: bool = False,
) -> Generator[Any]:
    """All of a sharded model in each process as long as this lasts, or in the main one alone.

    A copy of its own, in the type that the model computes in and on its device unless told
    otherwise; None where it is another's. What is not sharded is given as it is, in every process.
    """
    if not is_sharded(model):
        yield model
        return
    let_go(model)
    dtype, made = dtype or computed_in(model), None
    try:
        if processes.is_main() or not main_alone:
            made = _empty(model, dtype, device or model.device)
        _fill(made, model, dtype)
    except torch.OutOfMemoryError as error:
        size = model.num_parameters() * dtype.itemsize / 2**30
        raise WholeModelError(
            f"not enough memory for the whole model, which is evaluated in one piece "
            f"({size:.1f} GiB beside this process's part): take devices with more of it"
        ) from error
    yield made
    if made is not None:
        made.to_empty(device="meta")  # whoever was given it may still hold it
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def for_disk(model: Any) -> AbstractContextManager[Any]:
    """The same in the main process's memory, as it is saved: in float32."""
    return whole(model, torch.float32, "cpu", main_alone=True)


def _fill(made: Any, model: Any, dtype: torch.dtype) -> None:
    """Gather one weight after the other, in all processes; `made` may be None."""
    with torch.no_grad():
        for name, part in model.named_parameters():
            weight = part.to(dtype)  # before: half as much is sent
            weight = weight.full_tensor() if isinstance(weight, DTensor) else weight
            if made is not None:
                made.get_parameter(name).copy_(weight)
    if made is not None:
        made.tie_weights()


def _empty(model: Any, dtype: torch.dtype, device: torch.device | str) -> Any:
    """A model of the same kind, with the same buffers and no weights yet."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    del config.distributed_config
    with torch.device("meta"):
        made = cast(Any, AutoModelForCausalLM).from_config(config, dtype=dtype)
    made.to_empty(device=device)
    for name, buffer in model.named_buffers():  # positions; they are whole everywhere
        made.get_buffer(name).copy_(buffer)
    made.generation_config = model.generation_config
    return made


def load_weights(model: Any, folder: Path) -> None:
    """Read the weights that a checkpoint holds, each process its part of them."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        set_model_state_dict,
    )

    let_go(model)
    tied: dict[str, str] = model.all_tied_weights_keys  # not in the files: they are others' weights
    state = {n: v for n, v in get_model_state_dict(model).items() if n not in tied}
    with _own_errors():
        cast(Any, dcp).load(state, storage_reader=HuggingFaceStorageReader(str(folder)))
    set_model_state_dict(model, state, options=StateDictOptions(strict=not tied))


class ShardedState:
    """Mixin before a `transformers.Trainer`: what a sharded training goes on from.

    Trainer refuses to save it: it is built with `save_only_model` and told otherwise afterwards.
    """

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        trainer: Any = self
        let_go(trainer.model)
        return super().create_optimizer(*args, **kwargs)  # pyright: ignore

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        if not is_sharded(trainer.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # pyright: ignore
            return
        load_weights(trainer.model, Path(resume_from_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        trainer: Any = self
        if not is_sharded(trainer.model):
            super()._save_optimizer_and_scheduler(output_dir)  # pyright: ignore
            return
        folder = Path(output_dir)
        with _own_errors():
            _dcp().save_optimizer_distributed(*_stateful(trainer), str(folder / OPTIMIZER))
        if trainer.args.should_save:
            torch.save(trainer.lr_scheduler.state_dict(), folder / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        trainer: Any = self
        if checkpoint is None or not is_sharded(trainer.model):
            super()._load_optimizer_and_scheduler(checkpoint)  # pyright: ignore
            return
        folder = Path(checkpoint)
        with _own_errors():
            _dcp().load_optimizer_distributed(*_stateful(trainer), str(folder / OPTIMIZER))
        trainer.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER, weights_only=True))


@contextmanager
def _own_errors() -> Generator[None]:
    """What went wrong in any process, in all of them, without DCP's wrapper: it is no Exception."""
    try:
        yield
    except CheckpointException as error:
        first, _ = next(iter(error.failures.values()))
        raise first from error


def _stateful(trainer: Any) -> tuple[Any, Any]:
    return trainer.model, trainer.optimizer.optimizer  # which is in accelerate's wrapper


def _dcp() -> Any:
    from transformers.distributed import checkpoint

    return checkpoint
