"""What a run says when the device has too little memory. Frees nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wm_train.config import TrainConfig
from wm_train.errors import WmTrainError


class OutOfMemoryError(WmTrainError):
    """A step does not fit; what was saved before is whole."""


@contextmanager
def told(config: TrainConfig, run_dir: Path) -> Generator[None]:
    """Surrounds a run: memory that is not enough ends it with `OutOfMemoryError`, which says what
    to lower. A run may be gone on with so: see `resume.OF_MEMORY`."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).strip().partition(".")[0]
        less = [f"--optim.pack_tokens {max(1, config.optim.pack_tokens // 2)}"]
        less += [] if config.model.gradient_checkpointing else ["--model.gradient_checkpointing"]
        raise OutOfMemoryError(
            f"not enough memory: {reason}; what was saved before is whole. Go on with the run's "
            f"first command, --name {run_dir.name} and {' or '.join(less)}"
        ) from error
