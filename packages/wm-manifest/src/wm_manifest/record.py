"""What every record shares: strict fields, a version, files by hash. No stage's own fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

SCHEMA_VERSION = 1
NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def _number(value: object) -> object:
    return float(value) if isinstance(value, str) and value in NOT_FINITE else value


# A figure that was computed and may have come out as NaN or infinite (a diverged model). JSON has
# no such numbers, and null would say that nothing was measured, so a file holds their name.
Measured = Annotated[
    float,
    BeforeValidator(_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(NOT_FINITE)}]}),
]


class Record(BaseModel):
    """A part of a manifest. An unknown field is an error: a typo must not vanish silently.

    >>> FileRef(path="data/train.parquet", bytes=3, sha256="0" * 64).bytes
    3
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        ser_json_inf_nan="strings",
    )


class FileRef(Record):
    """One file, by its path relative to the manifest's folder (always with `/`)."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class TemplateRef(Record):
    """One prompt template with its whole text, so that a manifest can be replayed without us."""

    id: str  # "watermark/red/plain", the path below wm_prompts without its suffix
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    text: str
    heldout: bool = False  # never shown in training


class Estimate(Record):
    """A figure with its 95 % interval and what it rests on.

    `n` counts the observations in the figure, `n_groups` the independent prompt groups behind
    them; the interval is clustered by group. `value` is None where there was nothing to measure,
    NaN where what was measured is no number.

    >>> Estimate(value=float("nan"), n=3).model_dump_json(exclude_unset=True)
    '{"value":"NaN","n":3}'
    """

    value: Measured | None
    low: Measured | None = None
    high: Measured | None = None
    n: int = Field(ge=0)
    n_groups: int = Field(default=0, ge=0)
