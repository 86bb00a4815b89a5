"""The command in several processes of a launcher (accelerate, torchrun): one asks, the others help.

Each loads the same model, on a GPU of its own where there are some.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from wm_eval.errors import WmEvalError
from wm_eval.together import OVER, Talk, World, help_evaluate

if TYPE_CHECKING:
    from wm_eval.models import Models, Names

PATIENCE = timedelta(days=7)  # with one that lives: it may answer, or measure, for long
LOAD = "load"  # what is shared when nothing speaks against the evaluation


def talk() -> Talk | None:
    """With the other processes that the launcher started; None for a process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    import torch.distributed as dist

    # On the CPU: what is said are texts, whatever the model is on.
    cast(Any, dist).init_process_group("gloo", timeout=PATIENCE)
    return World()


def device(asked: str | None) -> str | None:
    """The device that is asked for, else this process's GPU where there are some."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    if asked is not None or local is None or not torch.cuda.is_available():
        return asked
    return f"cuda:{int(local) % torch.cuda.device_count()}"


def opened(talk: Talk | None, names: Names, dtype: str, device: str | None, backend: str) -> Models:
    """The models in each process. Raises in all what goes wrong in any of them."""
    from wm_eval.models import open_models

    if talk is None:
        return open_models(names, dtype, device, backend)
    found: Models | WmEvalError
    try:
        found = open_models(names, dtype, device, backend)
    except WmEvalError as error:
        found = error
    for error in talk.gathered(found if isinstance(found, WmEvalError) else None):
        if error is not None:
            raise error
    return cast("Models", found)


def helped(talk: Talk, names: Names, dtype: str, device: str | None) -> None:
    """What a process does that is not the first one: load what that one loads, and help it."""
    if talk.gathered(cast("str | None", OVER))[0] is OVER:
        return  # the first one has said why
    try:
        models = opened(talk, names, dtype, device, "hf")
    except WmEvalError:
        talk.gathered(OVER)  # the first one says it
        return
    help_evaluate(cast(Any, models.model), models.tokenizer, talk, models.base)
