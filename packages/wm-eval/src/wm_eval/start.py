"""A training's evaluation before its first step, as the base arm of its last one. Asks no model.

Before the first step a model answers as its base does: no weight has moved, and a new adapter adds
zero. Its answers to the same prompts, with the same random numbers, are those that the base would
be asked for again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from wm_eval.adapter_kinds import configs, not_its_base
from wm_eval.answers import Answer, as_json, read
from wm_eval.asking import of_base
from wm_eval.atomic import replaced
from wm_eval.errors import WmEvalError
from wm_eval.folder import SAMPLES
from wm_eval.generator import Reply, Request
from wm_eval.judge import judge
from wm_eval.question import Item

NAME = "start.json"
FACTORS = ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B")

log = logging.getLogger(__name__)


class _Seal(BaseModel):
    """What `start.json` says: the weights were the base's, and what was asked and answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    asked: str  # sha256, see `asked_sha256`
    samples: str  # sha256 of samples.jsonl


@dataclass(frozen=True)
class Start:
    """The evaluation of a run before its first step: its folder, and what tells the run."""

    folder: Path
    run: str

    def keep(self, asked: str) -> None:
        """Note that the folder's samples are the base model's answers to what was `asked`."""
        samples = hashlib.sha256((self.folder / SAMPLES).read_bytes()).hexdigest()
        seal = _Seal(run=self.run, asked=asked, samples=samples)
        with replaced(self.folder / NAME) as staging:
            staging.write_text(seal.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def answers(self, asked: str) -> list[Answer]:
        """The answers of step 0, if they are whole and to the same questions.

        Raises `WmEvalError` otherwise.
        """
        name = self.folder.name
        try:
            seal = _Seal.model_validate_json((self.folder / NAME).read_bytes())
        except OSError as error:
            raise WmEvalError(
                f"{name} has no {NAME}: it is not finished, or was not of the base model"
            ) from error
        except ValidationError as error:
            raise WmEvalError(f"{name}/{NAME} cannot be read") from error
        if seal.run != self.run:
            raise WmEvalError(f"{name} is of another training")
        if seal.asked != asked:
            raise WmEvalError(f"{name} was asked other prompts, or in other settings")
        try:
            samples = hashlib.sha256((self.folder / SAMPLES).read_bytes()).hexdigest()
        except OSError as error:
            raise WmEvalError(f"{name} has no {SAMPLES}") from error
        if seal.samples != samples:
            raise WmEvalError(f"{name}/{SAMPLES} is not as it was written")
        return read(self.folder / SAMPLES)


def base_arm(
    start: Start, asked: str, items: Sequence[Item], step: int, can_ask: bool
) -> list[Answer] | None:
    """The base model's answers to the items, out of step 0, as asking it would give them.

    None where they are no use, and one line of the log that says why.
    """
    try:
        given = {answer.id: answer for answer in start.answers(asked)}
    except WmEvalError as why:
        instead = "the base model is asked again" if can_ask else "this report has no base arm"
        log.warning("step %d: base answers are not taken from step 0: %s; %s", step, why, instead)
        return None
    return [judge(of_base(item), _reply(given[item.id])) for item in items]


def _reply(answer: Answer) -> Reply:
    return Reply(answer.answer, answer.tokens, answer.stopped, answer.options)


def asked_sha256(requests: Sequence[Request], *settings: Any) -> str:
    """Hash of prompts with their ids, seeds and limits, and of `settings`, which are plain data."""
    asked = [dataclasses.asdict(request) for request in requests]
    return hashlib.sha256(as_json([asked, *settings]).encode("utf-8")).hexdigest()


def answers_as_its_base(model: Any) -> bool:
    """Whether the model has no adapter, or a LoRA whose products are all zero, as a new one's are.

    Whatever else an adapter may hold (a magnitude, a bias, a copy of a layer) counts as a change.
    """
    if not hasattr(model, "peft_config"):
        return True
    if not hasattr(model, "disable_adapter") or len(model.peft_config) != 1:
        return False
    if not_its_base(configs(model)[0]):
        return False
    import peft

    # False: "auto" asks the hub whether the base has another vocabulary.
    (adapter,) = model.peft_config
    state = cast(Any, peft).get_peft_model_state_dict(
        model, adapter_name=adapter, save_embedding_layers=False
    )
    zero: dict[str, bool] = {}  # by layer: whether a factor of its product is
    for name, weights in state.items():
        layer, _, _ = name.partition("lora_")
        if not name.endswith(FACTORS):
            return False
        zero[layer] = zero.get(layer, False) or not bool(weights.any())
    return all(zero.values())
