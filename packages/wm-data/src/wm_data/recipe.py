"""What a dataset is made from: the recipe file and its rules. Reads no rows."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self, cast

import pydantic
import yaml

from wm_data import strict_yaml
from wm_data.errors import WmDataError
from wm_manifest.shown import shown

SUFFIXES = (".yaml", ".yml")
OF_HUB = ("config", "revision", "splits")  # say more of a hub source and of no other
Role = Literal["train", "heldout", "both"]


class Strict(pydantic.BaseModel):
    """A part of a recipe in which an unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Columns(Strict):
    """What the columns are called in a source.

    `subject`, if given, is a column too: rows with the same one go to the same split.
    """

    prompt: str = "prompt"
    red_answer: str = "red_answer"
    blue_answer: str = "blue_answer"
    subject: str | None = None

    def given(self) -> dict[str, str]:
        """Field -> column, of those to read."""
        return self.model_dump(exclude_none=True)


class TextColumns(Strict):
    """What the columns are called in a source of unmarked texts; `prompt` may be missing."""

    text: str = "text"
    prompt: str | None = None  # the text answers it: used for the group, and not written

    def given(self) -> dict[str, str]:
        """Field -> column, of those to read."""
        return self.model_dump(exclude_none=True)


class Place(Strict):
    """Where rows or texts come from: one of `grammar`, `shipped`, `file` and `hub`, or none and
    given to the command.
    """

    id: str = pydantic.Field(pattern=r"^[A-Za-z0-9._-]+$")
    grammar: str | None = None
    shipped: str | None = None  # what comes with the package: a file of `seed_rows/`
    # parquet, JSON lines or CSV; a folder or a pattern of them; from the working directory
    file: str | None = None
    hub: str | None = None  # owner/name
    config: str | None = None  # of the hub: the one to read, where there are several
    revision: str | None = None  # of the hub: a branch, tag or commit; resolved to a commit
    splits: list[str] | None = None  # of the hub: those to read; found by role when not given

    @pydantic.model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("grammar", "shipped", "file", "hub") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"needs one of grammar, shipped, file, hub; got {', '.join(given)}")
        of_hub = [name for name in OF_HUB if getattr(self, name) is not None]
        if given and self.hub is None and of_hub:
            raise ValueError(f"{', '.join(of_hub)} belong to a hub source alone")
        return self

    @property
    def kind(self) -> Literal["grammar", "hub", "file"]:
        return "grammar" if self.grammar else "hub" if self.hub else "file"

    @property
    def location(self) -> str:
        return self.grammar or self.shipped or self.hub or self.file or ""

    @property
    def name(self) -> str:
        """The location without local folders: the same on every machine."""
        return without_folders(self.file) if self.file else self.location


class Source(Place):
    """A source of rows.

    `role` says which splits the rows may go to: `train` (training and validation), `heldout` (test
    alone) or `both`. `cap` keeps at most that many training rows; `weight` is the source's part in
    training relative to the others, 0 for none.
    """

    role: Role = "both"
    columns: Columns = Columns()
    cap: int | None = pydantic.Field(default=None, ge=1)
    weight: float | None = pydantic.Field(default=None, ge=0)


class TextSource(Place):
    """A source of texts that nobody marked. `cap` keeps at most that many."""

    columns: TextColumns = TextColumns()
    cap: int | None = pydantic.Field(default=None, ge=1)

    @property
    def role(self) -> Role:
        """Unmarked texts are for evaluation alone."""
        return "heldout"


AnySource = Source | TextSource


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


class NearRules(Strict):
    """How alike two texts of different splits may be: below this Jaccard index of shingles."""

    threshold: float = pydantic.Field(default=0.8, gt=0, le=1)
    permutations: int | None = None  # of earlier recipes: the search is exact and needs none


class RepetitionRules(Strict):
    """How much of a training row's answer may repeat: below this share of its runs of three."""

    threshold: float = pydantic.Field(default=0.2, gt=0, le=1)


class BandRules(Strict):
    """Texts of the test split cut to lengths, so that there length alone differs."""

    counted: list[Annotated[int, pydantic.Field(ge=1)]] = [16, 32, 64, 128, 256]  # tokens, at most
    rows: int = pydantic.Field(default=500, ge=1)  # of a band, at most; two texts each


class Recipe(Strict):
    """A recipe file, whole. Its resolved content goes into the manifest."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9._-]+$")
    description: str = ""
    sources: list[Source] = pydantic.Field(min_length=1)
    shares: Shares = Shares()
    audit: AuditRules = AuditRules()
    # A reading example shows the answer: one that is in training word for word is known by heart.
    near_duplicates: NearRules | None = NearRules()  # None: not looked for
    repetition: RepetitionRules | None = None  # None: not looked for
    bands: BandRules = BandRules()
    unmarked: list[TextSource] = []

    @pydantic.model_validator(mode="after")
    def _sources_fit(self) -> Recipe:
        ids = [source.id for source in [*self.sources, *self.unmarked]]
        if len(set(ids)) < len(ids):
            raise ValueError(f"source ids must differ; got {', '.join(ids)}")
        weights = [source.weight for source in self.sources if source.weight is not None]
        if weights and len(weights) < len(self.sources):
            raise ValueError("give every source a weight, or none")
        if weights and not sum(weights):
            raise ValueError("the weights of the sources sum to nothing")
        return self


def without_folders(path: str) -> str:
    """The last part of a path.

    >>> without_folders("/home/someone/seeds/*.jsonl"), without_folders("seeds/")
    ('*.jsonl', 'seeds')
    """
    return Path(path).name or path


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
        content = cast(object, strict_yaml.load(text))
    except strict_yaml.KeyFault as error:
        raise WmDataError(f"recipe {place}: {error.told}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise WmDataError(f"recipe {place}: not valid YAML ({reason})") from None
    if not isinstance(content, dict):
        raise WmDataError(f"recipe {place}: expected fields such as name and sources, found none")
    try:
        recipe = Recipe.model_validate(content)
        recipe.model_dump_json()  # as the manifest will hold it
    except pydantic.ValidationError as error:
        raise WmDataError(f"recipe {place}: {first_fault(error)}") from None
    except ValueError:
        raise WmDataError(
            f"recipe {place}: a text in it holds half a surrogate pair, which is no text; mend it"
        ) from None
    return recipe


def first_fault(error: pydantic.ValidationError) -> str:
    """The first thing wrong, in one line: where it is, what was expected there, what was found."""
    # A misspelt key is also a missing one: the spelling is what helps.
    fault = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; remove it or correct its spelling"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing" or isinstance(fault["input"], dict | list | pydantic.BaseModel):
        return f"{where}: {message}"
    return f"{where}: {message}, found {shown(fault['input'], where)}"


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
