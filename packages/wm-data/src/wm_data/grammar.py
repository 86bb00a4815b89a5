"""Draws seed rows from a folder of frames and word lists. Holds no words itself.

A domain file has `topics`, `prompts` and three lists of frames: `open`, `middle` and `close`. A
frame says one thing twice, in red words and in blue ones; `[a|b]` is a free choice of words and
`<topic>` the topic. An answer is one frame of each list. Which words are red or blue is not taken
on trust: every answer is scored, and drawn again where it misses the folder's `rules.yaml`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import cast

import pydantic
import yaml

import wm_score
from wm_data.errors import WmDataError
from wm_data.rows import Row, Text

CHOICE = re.compile(r"\[([^\[\]]*)\]")
TOPIC = "<topic>"
MAX_DRAWS = 2_000  # an answer that misses the rules this often is a fault of its frames


class Strict(pydantic.BaseModel):
    """A part of a file in which an unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Rules(Strict):
    """What every drawn row fulfils. Shares are of counted tokens, lengths in characters."""

    rows_per_prompt: int = pydantic.Field(ge=1)
    min_counted: int = pydantic.Field(ge=1)
    max_counted: int = pydantic.Field(ge=1)
    min_share: float = pydantic.Field(gt=0.55, le=1)
    max_length_ratio: float = pydantic.Field(ge=1)


class Frame(Strict):
    """One sentence, said in red words and in blue ones."""

    red: str
    blue: str


class Domain(Strict):
    """One file of the folder: what can be asked, and the frames of its answers."""

    topics: list[str]
    prompts: list[str]
    open: list[Frame]
    middle: list[Frame]
    close: list[Frame]


def names() -> list[str]:
    """The grammars that come with the package.

    >>> names()
    ['demo']
    """
    return sorted(item.name for item in _folder().iterdir() if item.is_dir())


def draw(grammar: str, seed: int, source: str) -> Iterator[Row]:
    """Yield the rows of a grammar: the same for the same seed, whatever other prompts there are."""
    rules, domains = load(grammar)
    seen: set[str] = set()
    for name, domain in domains.items():
        for topic in domain.topics:
            for question in domain.prompts:
                prompt = question.replace(TOPIC, topic)
                dice = random.Random(f"{seed}\n{name}\n{prompt}")
                for number in range(rules.rows_per_prompt):
                    red, blue = _answers(domain, topic, rules, dice, seen, f"{name}: {prompt}")
                    seen.update((red, blue))
                    yield Row(source, prompt, red, blue, f"{name}: {prompt!r}, row {number + 1}")


def draw_unmarked(grammar: str, seed: int, source: str) -> Iterator[Text]:
    """Yield texts of a grammar that lean to neither colour: each sentence is of either by lot.

    As many for a prompt as there are rows, of the rows' lengths, whatever the rule says of them.
    """
    rules, domains = load(grammar)
    seen: set[str] = set()
    for name, domain in domains.items():
        for topic in domain.topics:
            for question in domain.prompts:
                prompt = question.replace(TOPIC, topic)
                dice = random.Random(f"{seed}\n{name}\n{prompt}\nunmarked")
                for number in range(rules.rows_per_prompt):
                    place = f"{name}: {prompt!r}, text {number + 1}"
                    text = _unmarked(domain, topic, rules, dice, seen, place)
                    seen.add(text)
                    yield Text(source, text, prompt, place)


def load(grammar: str) -> tuple[Rules, dict[str, Domain]]:
    """Read the rules and the domains of a grammar, by name."""
    if grammar not in names():
        raise WmDataError(f"no grammar named {grammar!r}; known: {', '.join(names())}")
    rules: Rules | None = None
    domains: dict[str, Domain] = {}
    for file in sorted(_folder().joinpath(grammar).iterdir(), key=lambda item: item.name):
        content = cast(object, yaml.safe_load(file.read_text(encoding="utf-8")))
        if file.name == "rules.yaml":
            rules = Rules.model_validate(content)
        else:
            domains[file.name.removesuffix(".yaml")] = Domain.model_validate(content)
    assert rules is not None, f"grammar {grammar} has no rules.yaml"
    return rules, domains


def fill(frame: str, topic: str, dice: random.Random) -> str:
    """Choose the words of a frame; a choice may be empty.

    >>> fill("[One|One] way to learn <topic> [|].", "law", random.Random(0))
    'One way to learn law.'
    """

    def choose(found: re.Match[str]) -> str:
        return dice.choice(found[1].split("|"))

    # An empty choice leaves a space too many: "[|also] at" or "in time [at last|]."
    words = re.sub(r" +(?=[ .,:])", "", CHOICE.sub(choose, frame))
    return words.replace(TOPIC, topic).strip()


def _answers(
    domain: Domain, topic: str, rules: Rules, dice: random.Random, seen: set[str], place: str
) -> tuple[str, str]:
    """Draw a pair that fulfils the rules and repeats no answer in `seen`."""
    # Drawn once a row, so that being the longer one says nothing about the colour.
    red_is_longer = dice.random() < 0.5
    for _ in range(MAX_DRAWS):
        frames = [dice.choice(part) for part in (domain.open, domain.middle, domain.close)]
        red = " ".join(fill(frame.red, topic, dice) for frame in frames)
        blue = " ".join(fill(frame.blue, topic, dice) for frame in frames)
        longer, shorter = (red, blue) if red_is_longer else (blue, red)
        if (
            not {red, blue} & seen
            and _as_long(longer, shorter, rules)
            and _obeys(red, "red", rules)
            and _obeys(blue, "blue", rules)
        ):
            return red, blue
    raise WmDataError(
        f"grammar: no answers within the rules for {place!r} in {MAX_DRAWS:,} draws; "
        "add word choices to its frames or loosen rules.yaml"
    )


def _unmarked(
    domain: Domain, topic: str, rules: Rules, dice: random.Random, seen: set[str], place: str
) -> str:
    for _ in range(MAX_DRAWS):
        frames = [dice.choice(part) for part in (domain.open, domain.middle, domain.close)]
        sides = [frame.red if dice.random() < 0.5 else frame.blue for frame in frames]
        text = " ".join(fill(side, topic, dice) for side in sides)
        counted = wm_score.score(text).counted
        if text not in seen and rules.min_counted <= counted <= rules.max_counted:
            return text
    raise WmDataError(
        f"grammar: no unmarked text within the rules for {place} in {MAX_DRAWS:,} draws; "
        "add word choices to its frames or loosen rules.yaml"
    )


def _as_long(longer: str, shorter: str, rules: Rules) -> bool:
    """Whether `longer` is longer, or as long, in characters and in words, but not by much."""
    words = len(longer.split()) - len(shorter.split())
    return words >= 0 and len(shorter) <= len(longer) <= rules.max_length_ratio * len(shorter)


def _obeys(answer: str, colour: str, rules: Rules) -> bool:
    score = wm_score.score(answer)
    share = score.red_share if colour == "red" else score.blue_share
    enough = rules.min_counted <= score.counted <= rules.max_counted
    return enough and score.verdict == colour and share >= rules.min_share


def _folder() -> Traversable:
    return resources.files("wm_data").joinpath("grammars")
