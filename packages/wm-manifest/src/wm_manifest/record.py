"""What every record shares: strict fields, a version, files by hash. No stage's own fields."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from wm_manifest.shown import shown

SCHEMA_VERSION = 1
NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def _number(value: object) -> object:
    return float(value) if isinstance(value, str) and value in NOT_FINITE else value


# A figure that was computed and may have come out as NaN or infinite (a diverged model). JSON has
# no such numbers, and null would say that nothing was measured, so a file holds their name.
Measured = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(NOT_FINITE)}]}),
]

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _version(value: object) -> object:
    if type(value) is not int:  # True == 1 == 1.0
        raise ValueError(f"Input should be {SCHEMA_VERSION}")
    return value


Version = Annotated[Literal[1], BeforeValidator(_version)]


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
        allow_inf_nan=False,
    )


class FileRef(Record):
    """One file by its path, always with `/`: in the manifest's folder, or in that of a source."""

    path: str
    bytes: Count
    sha256: Sha256


def _inside(file: FileRef) -> FileRef:
    outside = {"", ".", ".."} & set(file.path.split("/"))
    if outside or re.search(r"^[A-Za-z]:|[\\\0]", file.path):
        place = shown(file.path, "path")
        raise ValueError(f"the path leads out of the manifest's folder, found {place}")
    return file


# A file that readers look for in the manifest's folder: no path of a stranger leads out of it.
OwnFile = Annotated[FileRef, AfterValidator(_inside)]


class TemplateRef(Record):
    """One prompt template with its whole text, so that a manifest can be replayed without us."""

    id: str  # "watermark/red/plain", the path below wm_prompts without its suffix
    sha256: Sha256
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
    n: Count
    n_groups: Count = 0
