"""Which model is the base that another is compared with. Asks neither."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from wm_eval.adapter_kinds import configs, not_its_base
from wm_eval.generator import Generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def base_generator(
    model: PreTrainedModel | Generator,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
    base: PreTrainedModel | Generator | Literal["auto"] | None,
) -> Generator | None:
    """The generator of the base model: another model, the adapter off, or none.

    None, and a line of the log, where what lies below the adapter is not what it was made for.
    """
    from wm_eval.hf import HFGenerator

    if base is None or isinstance(base, Generator):
        return base
    if base != "auto":
        return HFGenerator(base, tokenizer, batch_size)
    if isinstance(model, Generator) or not hasattr(model, "disable_adapter"):
        return None
    if why := " and ".join(filter(None, map(not_its_base, configs(model)))):
        log.warning("no base arm: below an adapter with %s is not the base; name it by --base", why)
        return None
    return HFGenerator(model, tokenizer, batch_size, adapter_off=True)
