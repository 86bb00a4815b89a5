"""What a dataset is made from: the recipe file and its rules. Reads no rows."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal, cast

import pydantic
import yaml

from wm_data.errors import WmDataError

SUFFIXES = (".yaml", ".yml")
Role = Literal["train", "heldout", "both"]


class Strict(pydantic.BaseModel):
    """A part of a recipe in which an unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Columns(Strict):
    """What the three columns are called in a source."""

    prompt: str = "prompt"
    red_answer: str = "red_answer"
    blue_answer: str = "blue_answer"


class Source(Strict):
    """Where rows come from: exactly one of `grammar`, `file` and `hub`.

    `role` says which splits the rows may go to: `train` (training and validation), `heldout` (test
    alone) or `both`. `cap` keeps at most that many rows; `weight` is relative to other sources.
    """

    id: str = pydantic.Field(pattern=r"^[A-Za-z0-9._-]+$")
    grammar: str | None = None
    file: str | None = None  # parquet, JSON lines or CSV; a folder or a pattern of them
    hub: str | None = None  # owner/name
    revision: str | None = None  # of the hub: a branch, tag or commit; resolved to a commit
    splits: list[str] | None = None  # of the hub: those to read; found by role when not given
    role: Role = "both"
    columns: Columns = Columns()
    cap: int | None = pydantic.Field(default=None, ge=1)
    weight: float | None = pydantic.Field(default=None, ge=0)

    @pydantic.model_validator(mode="after")
    def _one_place(self) -> Source:
        given = [name for name in ("grammar", "file", "hub") if getattr(self, name)]
        if len(given) != 1:
            got = ", ".join(given) or "none of them"
            raise ValueError(f"needs exactly one of grammar, file, hub; got {got}")
        if self.hub is None and (self.revision is not None or self.splits is not None):
            raise ValueError("revision and splits belong to a hub source alone")
        return self

    @property
    def kind(self) -> Literal["grammar", "hub", "file"]:
        return "grammar" if self.grammar else "hub" if self.hub else "file"

    @property
    def location(self) -> str:
        return self.grammar or self.hub or self.file or ""


class Shares(Strict):
    """Shares of prompt groups that leave training, for sources whose role allows it."""

    validation: float = pydantic.Field(default=0.02, ge=0, lt=1)
    test: float = pydantic.Field(default=0.05, ge=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _something_to_train_on(self) -> Shares:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self


class AuditRules(Strict):
    """What a row must fulfil besides the verdicts of its answers."""

    min_counted: int = pydantic.Field(default=20, ge=1)
    max_counted: int | None = pydantic.Field(default=None, ge=1)
    max_length_ratio: float = pydantic.Field(default=1.5, ge=1)  # longer answer over shorter


class Recipe(Strict):
    """A recipe file, whole. Its resolved content goes into the manifest."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9._-]+$")
    description: str = ""
    sources: list[Source] = pydantic.Field(min_length=1)
    shares: Shares = Shares()
    audit: AuditRules = AuditRules()

    @pydantic.model_validator(mode="after")
    def _sources_fit(self) -> Recipe:
        ids = [source.id for source in self.sources]
        if len(set(ids)) < len(ids):
            raise ValueError(f"source ids must differ; got {', '.join(ids)}")
        weights = [source.weight for source in self.sources if source.weight is not None]
        if weights and len(weights) < len(ids):
            raise ValueError("give every source a weight, or none")
        if weights and not sum(weights):
            raise ValueError("the weights of the sources sum to nothing")
        return self


def names() -> list[str]:
    """The recipes that come with the package."""
    files = resources.files("wm_data").joinpath("recipes").iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(SUFFIXES))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of a shipped one, or from a YAML file.

    >>> load_recipe("demo").sources[0].kind
    'grammar'
    """
    text, place = _text(name_or_path)
    try:
        content = cast(object, yaml.safe_load(text))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise WmDataError(f"recipe {place}: not valid YAML ({reason})") from None
    try:
        return Recipe.model_validate(content)
    except pydantic.ValidationError as error:
        raise WmDataError(f"recipe {place}: {first_fault(error)}") from None


def first_fault(error: pydantic.ValidationError) -> str:
    """The first thing wrong, in one line: where it is and what was expected there."""
    # A misspelt key is also a missing one: the spelling is what helps.
    fault = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; remove it or correct its spelling"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message}"


def _text(name_or_path: str | Path) -> tuple[str, str]:
    """The recipe's text, and what to call it in an error."""
    if str(name_or_path) in names():
        shipped = resources.files("wm_data").joinpath("recipes", f"{name_or_path}.yaml")
        return shipped.read_text(encoding="utf-8"), str(name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise WmDataError(
            f"no recipe {str(name_or_path)!r}: it is neither a file nor one of {', '.join(names())}"
        )
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise WmDataError(f"recipe {path}: cannot be read ({error})") from None
