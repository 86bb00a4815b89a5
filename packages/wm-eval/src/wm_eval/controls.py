"""Checks that the evaluation itself is sound. Each can fail it; none can be left out by the caller.

A blocking control judges the evaluation, not the model: a bad model passes them all. The neutral
arm's is the one that does not block: it tells what a sound figure does not show.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import wm_prompts
import wm_score
from wm_eval.answers import Answer, select
from wm_eval.errors import WmEvalError
from wm_eval.question import COLOURS, Dataset, Item
from wm_eval.tables import groups_of
from wm_manifest import Control, DatasetManifest, ManifestError, RunManifest, TemplateRef, load

GOLD_AT_LEAST = 0.99
SHUFFLED_AT_MOST = 0.55
NEUTRAL_AT_MOST = 0.98
ROUNDING = 1e-9


def of_data(
    data: Dataset, chat_template_sha256: str | None, trained_with: Path | None = None
) -> list[Control]:
    """Those that need no answer. `trained_with` adds those that need the training's record, and
    raises `WmEvalError` where there is none: before hours of answers, not after them."""
    controls = [
        codebook(data.manifest),
        gold_answers([*data.watermark, *data.detect, *data.bands]),
        unseen_groups("test groups unseen in training", data, data.path),
        templates("prompt templates are the dataset's", data, data.manifest.templates),
    ]
    if trained_with is not None:
        controls += training_record(data, trained_with, chat_template_sha256)
    return controls


def of_answers(answers: Sequence[Answer]) -> list[Control]:
    """Those that look at what the model answered."""
    return [shuffled_labels(answers), neutral_false_positives(answers)]


def codebook(manifest: DatasetManifest) -> Control:
    """The dataset was labelled by the rule that judges here, with the same table of ids."""
    version, *table = manifest.codebook.split() or [""]
    same = version == wm_score.CODEBOOK and all(
        wm_score.COUNTED_SHA256.startswith(digest) for digest in table
    )
    return Control(
        name="codebook is the dataset's",
        passed=same,
        value=None,
        expected=f"{wm_score.CODEBOOK} {wm_score.COUNTED_SHA256}"
        + ("" if same else f", found {manifest.codebook}"),
    )


def gold_answers(items: Sequence[Item]) -> Control:
    """The dataset's own answers must earn their colours: else the rule here is not its rule."""
    gold = {(item.text, item.expected) for item in items if item.expected}
    right = [wm_score.score(text).verdict == colour for text, colour in sorted(gold, key=str)]
    value = sum(right) / len(right) if right else None
    return Control(
        name="gold answers earn their colour",
        passed=value is not None and value >= GOLD_AT_LEAST,
        value=value,
        expected=f"at least {GOLD_AT_LEAST}",
    )


def shuffled_labels(answers: Sequence[Answer]) -> Control:
    """Accuracy expected of these very answers when the labels are dealt out anew at random.

    It catches labels so unbalanced that always naming one colour beats a coin, given that the
    answers lean to the commoner colour. It cannot catch a leak: text that gives its label away
    raises the accuracy proper, not this one. Exact, without any shuffling: for each colour, its
    share of the labels times its share of the answers. An odd number of texts cannot be balanced;
    the limit then allows for one text more of one colour.
    """
    own = select(answers, "detect")
    labels, verdicts = [a.expected for a in own], [a.verdict for a in own]
    value = None
    if own:
        value = sum(labels.count(c) * verdicts.count(c) for c in COLOURS) / len(own) ** 2
    texts = len({a.id.rpartition("/")[0] for a in own})
    most = max(SHUFFLED_AT_MOST, -(-texts // 2) / texts) if texts else SHUFFLED_AT_MOST
    return Control(
        name="shuffled labels give chance",
        passed=value is None or value <= most + ROUNDING,
        value=value,
        expected=f"at most {most:.3g}",
    )


def neutral_false_positives(answers: Sequence[Answer]) -> Control:
    """The larger of the two colours' rates when no codebook is asked for, by the rule alone.

    Where it is near 1 the arm is no null: success at that colour says nothing about obedience. That
    is a fact about the model. That a coloured prompt was never asked neutrally is one about the
    evaluation, and makes it invalid.
    """
    own = select(answers, "watermark", "neutral")
    coloured = {a.group for colour in COLOURS for a in select(answers, "watermark", colour)}
    alone = coloured - {a.group for a in own}
    rates = [sum(a.verdict == colour for a in own) / len(own) for colour in COLOURS if own]
    value = max(rates, default=None)
    return Control(
        name="neutral arm can serve as a null",
        passed=value is not None and value <= NEUTRAL_AT_MOST and not alone,
        value=value,
        expected=f"at most {NEUTRAL_AT_MOST} of neutral answers in one colour"
        + (f"; {len(alone)} prompts have no neutral answer" if alone else ""),
        blocking=bool(alone),  # else the lift says it too: see docs/adr/0005
    )


def unseen_groups(name: str, data: Dataset, folder: Path) -> Control:
    """No prompt group that is asked here, or that an unmarked text is of, stands in the training
    split of `folder`."""
    asked = {item.group for item in [*data.watermark, *data.detect, *data.bands]}
    asked |= {text.group for text in data.unmarked}
    seen = asked & groups_of(folder, "train") if data.split != "train" else asked
    return Control(
        name=name,
        passed=not seen,
        value=float(len(seen)),
        expected=f"0 of {len(asked)} groups",
    )


def templates(name: str, data: Dataset, recorded: Sequence[TemplateRef]) -> Control:
    """The wordings used here are byte for byte the recorded ones.

    A wording that the record does not have counts as differing. The neutral arm's is the exception:
    nothing is trained or built with it, so datasets need not record it.
    """
    known = {template.id: template.sha256 for template in recorded}
    other = [
        id
        for id, digest in wordings(data).items()
        if (known[id] != digest if id in known else not id.startswith("watermark/neutral/"))
    ]
    return Control(
        name=name,
        passed=not other,
        value=float(len(other)),
        expected="0 templates differ" + (f"; differing: {', '.join(other)}" if other else ""),
    )


def wordings(data: Dataset) -> dict[str, str | None]:
    """Id and sha256 of each wording used: watermark prompts are rendered here by wm-prompts, detect
    prompts come from the dataset, with the sha256 that its manifest has for them, or None."""
    built = {template.id: template.sha256 for template in data.manifest.templates}
    watermark = {f"watermark/{item.arm}/{item.variant}" for item in data.watermark}
    detect = {f"detect/{part}/{i.variant}" for i in data.detect for part in ("question", "system")}
    rendered: dict[str, str | None] = {id: wm_prompts.sha256(id) for id in sorted(watermark)}
    return rendered | {id: built.get(id) for id in sorted(detect)}


def detect_wordings(data: Dataset) -> list[str]:
    """The dataset's wordings of a question about a text that wm-prompts has as they were built;
    of one that is not in the dataset's record another control tells.

    Questions about texts that the model writes are made here. In words that it was never asked in
    they would measure something else: those wordings are left out, with a warning.
    """
    built = {template.id: template.sha256 for template in data.manifest.templates}
    installed = set(wm_prompts.ids())
    found = sorted({item.variant for item in data.detect})
    same = [
        variant
        for variant in found
        if all(
            id in installed and built.get(id, wm_prompts.sha256(id)) == wm_prompts.sha256(id)
            for id in (f"detect/question/{variant}", f"detect/system/{variant}")
        )
    ]
    if other := sorted(set(found) - set(same)):
        warnings.warn(
            f"the installed wm-prompts has other words than the dataset for {', '.join(other)}: "
            "the model is not asked so about its own texts; install the wm-prompts that the "
            "dataset was built with, or build it anew",
            stacklevel=2,
        )
    return same


def training_record(
    data: Dataset, manifest: Path, chat_template_sha256: str | None
) -> list[Control]:
    """Against the manifest of a run or of a training dataset: groups, wordings, chat template."""
    try:
        run = load(RunManifest, manifest)
    except ManifestError as no_run:
        try:
            load(DatasetManifest, manifest)
        except ManifestError:
            raise WmEvalError(
                f"--trained-with {manifest}: neither a run's nor a dataset's manifest: {no_run}"
            ) from no_run
        return [
            unseen_groups("test groups unseen in the named training set", data, manifest.parent)
        ]
    if run.dataset is None:
        raise WmEvalError(f"--trained-with {manifest}: this run never had a dataset")
    folder = manifest.parent / run.dataset.path
    return [
        unseen_groups("test groups unseen in the training run", data, folder),
        templates("prompt templates are the training run's", data, run.templates),
        Control(
            name="chat template is the training run's",
            # One that was not recorded is not known to be the same.
            passed=run.chat_template_sha256 == chat_template_sha256,
            value=None,
            expected=f"sha256 {run.chat_template_sha256}, here {chat_template_sha256}",
        ),
    ]
