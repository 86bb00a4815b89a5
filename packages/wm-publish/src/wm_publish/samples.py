"""Two samples a task, their tokens by colour, long texts cut. Scores nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wm_manifest import Piece, RunManifest, Sample
from wm_publish.markup import Safe, marked

LONGEST = 1_000  # characters of one text: an answer of some 200 tokens is shown whole
CUT = Safe(" <i>… (cut)</i>")

_UNLIKE: tuple[Callable[[Sample, Sample], bool], ...] = (
    lambda a, b: a.arm != b.arm and a.expected != b.expected,
    lambda a, b: a.arm != b.arm,
)


def pick(manifest: RunManifest, task: str, count: int = 2) -> list[Sample]:
    """The first samples of different arms and, where there are such, different right answers.

    By their order alone, right or wrong: nothing is picked for looking good. So writing shows one
    answer asked in each colour, and reading one text of each colour, asked in different orders.
    """
    of_task = [s for s in manifest.samples if s.task == task]
    asked = [s for s in of_task if s.arm != "neutral"] or of_task
    chosen: list[Sample] = []
    for unlike in _UNLIKE:
        for sample in asked:
            if len(chosen) < count and all(unlike(sample, other) for other in chosen):
                chosen.append(sample)
    return chosen


def question(sample: Sample) -> Safe:
    """What the model was asked; in a text that it was to judge, the tokens by colour.

    The wording around the text has no colour: it is not counted. A manifest from before pieces of
    that text were kept has none, and its question is shown without colours.
    """
    text = "".join(piece.text for piece in sample.pieces)
    if sample.task != "detect" or not text or text not in sample.prompt:
        return _shown([_plain(sample.prompt)])
    before, _, after = sample.prompt.partition(text)
    return Safe(_shown([_plain(before)]) + _shown(sample.pieces) + _shown([_plain(after)]))


def answer(sample: Sample) -> Safe:
    """What the model wrote, the tokens by colour."""
    return _shown(sample.pieces or [_plain(sample.answer)])


def _plain(text: str) -> Piece:
    return Piece(text=text, colour="ignored")


def _shown(pieces: Iterable[Piece]) -> Safe:
    kept: list[Piece] = []
    left = LONGEST
    for piece in pieces:
        if len(piece.text) <= left:
            kept.append(piece)
            left -= len(piece.text)
            continue
        start = piece.text[:left]
        # Between words where that costs little.
        end = start.rfind(" ") if " " in start[-20:] else len(start)
        kept.append(piece.model_copy(update={"text": start[:end]}))
        return Safe(marked(kept) + CUT)
    return marked(kept)
