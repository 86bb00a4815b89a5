"""Judges texts that nobody marked, the negatives of an evaluation. Asks nobody, marks none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import wm_score
from wm_data.audit import REASONS, Measured, text_fault
from wm_data.recipe import Recipe
from wm_data.rows import Text, digest, normalise
from wm_data.values import FAULTS

# Why an unmarked text is left out, in the order in which they are tested.
TEXT_REASONS = {
    "broken row": FAULTS["broken row"],
    "empty": "the text is empty",
    "not text": "it is no text",
    "half a character": "it holds half a surrogate pair",
    "no prompt": "the recipe names a column of prompts, and it has none that can be read",
    **{name: REASONS[name] for name in ("special token", "few tokens", "many tokens")},
    "marked": "it is an answer of a row",
    "trained prompt": "its prompt stands in training or validation",
    "duplicate": "the same text stands earlier in the sources",
    "over its share": "its source's cap asks for fewer",
    "over the limit": "--limit asks for fewer texts",
}


@dataclass(frozen=True)
class Texts:
    """The unmarked texts of a dataset in their order, and what was read and left out."""

    kept: list[Text]
    read: Counter[str]  # source -> texts
    dropped: Counter[str]  # reason -> texts


def choose_texts(
    texts: Iterable[Text],
    recipe: Recipe,
    rows: Iterable[Measured],
    splits: Mapping[str, Sequence[Measured]],
    seed: int,
    limit: int | None,
) -> Texts:
    """Sound texts that are no answer of any of `rows`, and whose prompt is not trained on.

    Length is judged by the rows' rules and colour not at all: the rule's false positives among
    these texts are what they are for. `cap` and `limit` keep texts drawn from the seed.
    """
    trained = {item.group for name in ("train", "validation") for item in splits[name]}
    seen: dict[str, str] = {}
    for item in rows if recipe.unmarked else ():  # every answer is normalised: not for nothing
        for answer in (item.row.red_answer, item.row.blue_answer):
            seen[digest(normalise(answer))] = "marked"
    read, dropped = Counter[str](), Counter[str]()
    sound: list[Text] = []
    for text in texts:
        read[text.source] += 1
        key = digest(normalise(text.text))
        reason = text.fault or text_fault(text.text, wm_score.score(text.text), recipe.audit)
        found = seen.get(key, "")
        reason = reason or (found if found == "marked" else "")
        if not reason and text.prompt and text.group in trained:
            reason = "trained prompt"
        reason = reason or found
        if reason:
            dropped[reason] += 1
        else:
            seen[key] = "duplicate"
            sound.append(text)
    room = {source.id: source.cap or len(sound) for source in recipe.unmarked}
    kept: list[Text] = []
    for text in sorted(sound, key=lambda text: digest(f"{seed}\n{text.text_id}")):
        if room[text.source] <= 0:
            dropped["over its share"] += 1
        elif limit is not None and len(kept) >= limit:
            dropped["over the limit"] += 1
        else:
            room[text.source] -= 1
            kept.append(text)
    return Texts(kept, read, dropped)
