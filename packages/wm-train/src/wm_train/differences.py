"""What differs between a run and its repetition: before it, what could matter; after it, figures.

Reads no file and trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from wm_manifest import Estimate, RunManifest, TemplateRef
from wm_train import stack

ABSENT = "none"
SHOWN = 12  # characters of a hash
LOST = " and changes that were not kept"  # as they are of older runs; any two may differ
WEIGHTS = "base model's weights"  # older runs do not say which

# What a reader of a result looks at first. All of them are shares or differences of shares.
FIGURES = (
    "watermark/red/success",
    "watermark/blue/success",
    "watermark/red/lift",
    "watermark/blue/lift",
    "watermark/neutral/red_rate",
    "watermark/neutral/blue_rate",
    "detect/accuracy/red",
    "detect/accuracy/blue",
    "detect/accuracy",
    "detect/both_orders",
    "detect/likelihood/accuracy",
)


@dataclass(frozen=True)
class Difference:
    """One thing that is not what it was: `then` in the run, `now` here."""

    what: str
    then: str
    now: str
    from_step: int | None = None  # of an attempt that differs from the one before: within the run

    def __str__(self) -> str:
        if self.from_step is not None:
            since = f"from step {self.from_step:,} on"
            return f"{self.what}, within the run: {self.then} before, {self.now} {since}"
        return f"{self.what}: {self.then} then, {self.now} now"


@dataclass(frozen=True)
class Figure:
    """A figure of both runs. `agree`: their 95 % intervals have a value in common."""

    name: str
    then: Estimate | None
    now: Estimate | None

    @property
    def agree(self) -> bool:
        """Whether the intervals meet; a figure that only one of the runs has never agrees.

        Two evaluations of one truth miss each other in about one of 200 figures (intervals of
        equal width are 2.8 standard errors of the difference apart when they stop touching).
        """
        a, b = self.then, self.now
        if a is None or b is None:
            return a is b
        if a.value is None or b.value is None:
            return a.value == b.value  # neither had anything to measure
        return _low(a) <= _high(b) and _low(b) <= _high(a)


def differences(then: RunManifest, now: RunManifest) -> list[Difference]:
    """Everything that could change a bit of the weights and is not the same in both."""
    found = [*changes(then, now), *_within(then)]
    if now.hardware.devices and any(machine.devices for machine in stack.machines(then)):
        # Such as of Tensor.index_add, which PyTorch calls nondeterministic on CUDA.
        found.append(Difference("order of an accelerator's sums", "not fixed", "not fixed"))
    return found


def changes(then: RunManifest, now: RunManifest) -> list[Difference]:
    """What is known of both runs, or of their first attempts, and is not the same."""
    a, b = facts(then), facts(now)
    return [
        Difference(what, a.get(what, ABSENT), b.get(what, ABSENT))
        for what in sorted(a.keys() | b.keys())
        if a.get(what) != b.get(what) or (what == "code" and a[what].endswith(LOST))
        if what != WEIGHTS or (what in a and what in b)
    ]


def _within(run: RunManifest) -> list[Difference]:
    """What changed between the attempts of a run."""
    found: list[Difference] = []
    for (_, before), (step, after) in pairwise(stack.stretches(run)):
        found += [replace(each, from_step=step) for each in changes(before, after)]
    return found


def facts(manifest: RunManifest) -> dict[str, str]:
    """Code, packages, machine, data and wordings of a run, each by a name for people."""
    machine = manifest.hardware
    found = {f"version of {name}": version for name, version in manifest.packages.items()}
    found |= {
        "version of Python": manifest.python,
        "platform": machine.platform,
        "processor": f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib:.0f} GiB",
        "accelerators": ", ".join(machine.devices) or ABSENT,
        "threads": str(machine.threads) if machine.threads else ABSENT,
        "code": _code(manifest),
        "uv.lock": short(manifest.lock_sha256),
        "processes": str(manifest.processes),
        "codebook": manifest.codebook,
        "tokenizer": short(manifest.tokenizer_sha256),
        "chat template": short(manifest.chat_template_sha256),
        "base model": f"{manifest.base.location} at {manifest.base.revision or 'no revision'}",
    }
    if manifest.base_weights_sha256:
        found[WEIGHTS] = short(manifest.base_weights_sha256)
    if manifest.sharing_refused:
        found["prompts"] = "in padded batches, as the model cannot share them"
    if manifest.dataset:
        found["dataset's manifest"] = short(manifest.dataset.manifest_sha256)
        for name, split in manifest.dataset.splits.items():
            found[f"rows of {name}"] = f"{split.rows:,}"
    return found | {f"template {t.id}": _template(t) for t in manifest.templates}


def figures(then: RunManifest, now: RunManifest) -> Iterator[Figure]:
    """The figures that stand in the last evaluation of either run."""
    a, b = _last(then), _last(now)
    for name in FIGURES:
        if name in a or name in b:
            yield Figure(name, a.get(name), b.get(name))


def short(digest: str | None) -> str:
    """The beginning of a hash, enough to tell two apart."""
    return digest[:SHOWN] if digest else ABSENT


def _code(manifest: RunManifest) -> str:
    git = manifest.git
    if git.commit is None:
        return "no git checkout"
    lost = LOST if git.dirty else ""
    patch = f" and a patch {short(git.diff_sha256)}" if git.diff_sha256 else lost
    return f"commit {git.commit[:SHOWN]}{patch}"


def _template(template: TemplateRef) -> str:
    return short(template.sha256)


def _last(manifest: RunManifest) -> dict[str, Estimate]:
    trained = [e for e in manifest.evaluations if e.step > 0]
    return trained[-1].figures if trained else {}


def _low(figure: Estimate) -> float:
    assert figure.value is not None
    return figure.value if figure.low is None else figure.low


def _high(figure: Estimate) -> float:
    assert figure.value is not None
    return figure.value if figure.high is None else figure.high
