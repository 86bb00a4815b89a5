"""The record of one evaluation (`eval.json`): figures, controls, samples. Computes none of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from wm_manifest.record import (
    SCHEMA_VERSION,
    Count,
    Estimate,
    Measured,
    Record,
    Sha256,
    TemplateRef,
    Version,
)

Colour = Literal["red", "blue", "ignored"]


class ModelRef(Record):
    """A model as it was given, and what it resolved to."""

    location: str  # hub id or path
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    model_type: str | None = None
    parameters: Count | None = None


class Decoding(Record):
    """How answers were sampled. Temperature 0 means greedy.

    `detect` is of the questions about texts: sampled as the answers, or the most likely word.
    """

    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    batch_size: int
    seed: int
    detect: Literal["sampled", "greedy"] = "sampled"


class Control(Record):
    """A check made beside the figures, of the evaluation itself or of the model.

    A failed blocking control makes the evaluation invalid. A failed non-blocking one is a finding
    about the model that a reader must see; the figures stand.
    """

    name: str
    passed: bool
    value: Measured | None
    expected: str  # in words, with its numbers: "at least 0.99"
    blocking: bool = True


class Piece(Record):
    """A run of text of one colour. The pieces of a sample joined give back its text."""

    text: str
    colour: Colour


class Sample(Record):
    """One answer as the model gave it, with what it was asked and how it was judged."""

    task: Literal["watermark", "detect"]
    arm: str  # watermark: red, blue, neutral; detect: the order in which colours were named
    system: str | None
    prompt: str
    answer: str
    expected: str | None
    verdict: str
    passed: bool
    red_share: Measured | None = None
    # Of the answer (watermark) or of the text to be judged (detect), which stands in the prompt;
    # older files have none of the latter.
    pieces: list[Piece] = Field(default_factory=lambda: [])


class EvalReport(Record):
    """Figures of one model on one held-out split.

    `figures` is flat: "watermark/red/success", "detect/accuracy", ... each an `Estimate`, so that
    logs, plots, cards and comparisons need to know no metric by heart.
    """

    kind: Literal["evaluation"] = "evaluation"
    schema_version: Version = SCHEMA_VERSION
    model: ModelRef
    base: ModelRef | None = None  # what it was compared with; the model's own base: no adapter
    # Whether the base was asked, or its answers are those of the training's step 0. None also for
    # a report of before this field, whose base, where there is one, was asked.
    base_answers: Literal["asked", "step 0"] | None = None
    dataset: str  # name of the dataset
    dataset_sha256: Sha256  # of its manifest.json
    split: str
    limit: int | None = None
    step: Count | None = None  # optimizer steps taken before it, inside training
    decoding: Decoding
    codebook: str
    templates: list[TemplateRef]
    chat_template_sha256: Sha256 | None
    packages: dict[str, str]
    hardware: str
    # In which the weights are held: "bfloat16", or "bfloat16 (4-bit weights)", of which that is the
    # rest's. None: another backend's affair, or an older file.
    precision: str | None = None
    started_at: str | None  # UTC, ISO 8601
    seconds: float | None
    figures: dict[str, Estimate]
    controls: list[Control]
    valid: bool
    samples: list[Sample] = Field(default_factory=lambda: [])

    @field_validator("valid")
    @classmethod
    def _controls_allow_it(cls, valid: bool, info: ValidationInfo) -> bool:
        failed = [c.name for c in info.data.get("controls", ()) if c.blocking and not c.passed]
        if valid and failed:
            raise ValueError(f"Input should be false, for the control {failed[0]!r} failed")
        return valid
