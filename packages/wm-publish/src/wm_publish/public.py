"""What others may see of records: no folder of this machine, no key in a sample. Reads no file."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, cast

from wm_manifest import DatasetUse, EvalReport, ModelRef, RunManifest, Sample, Stack
from wm_publish.markup import is_hub_id
from wm_publish.metadata import base_is_on_hub
from wm_publish.secrets import hidden

# How a path of one machine begins: at its root, a drive, a share, a home, or above the folder that
# the command ran in. `//` alone is the middle of a URL.
_START = r"(?:file://|~[\w.-]*(?=[/\\])|[A-Za-z]:(?=[/\\])|\\\\|\.\.(?=[/\\])|/(?!/))"
_WHOLE = re.compile(rf"{_START}|~(?:[A-Za-z_][\w.-]*)?$|\.\.$")
_OPTION = re.compile(r"(-{1,2}[\w.-]+=|-[A-Za-z](?=[/~]))(.+)", re.DOTALL)
# Behind a dash or `<` it takes two names to be a path: `</b>` and `+/-` are none.
_AFTER_DASH = r"(?<=[<-])(?:~[\w.-]*[/\\]|[A-Za-z]:[/\\](?!/)|/[^\s/<>]+/)"
_ENDING = r"""\s"'<>(){}\[\],;:="""  # what ends a path in a sentence
_NAME = f"[^{_ENDING}]*"
# Up to three words more belong to it when a slash comes behind them: a folder's name has spaces.
_SPACED = rf"(?:(?: (?!-)[^{_ENDING}/\\]+){{1,3}}[/\\]{_NAME})*"
_INSIDE = re.compile(
    rf"""(?P<quote>["'])(?P<quoted>{_START}.*?)(?P=quote)"""
    rf"""|(?P<bare>(?:(?<![\w./\\~<-]){_START}|{_AFTER_DASH}){_NAME}(?:(?<=[\w.]){_SPACED})?)"""
)
_HOMES = re.compile(r"(?:[A-Za-z]:)?/(?:home|Users)/[^/]+|/root|~[^/]*")


def public_manifest(manifest: RunManifest) -> RunManifest:
    """`manifest` as others may see it: every local path cut to its last name, nothing else changed.

    It also loses the hub's commit: a manifest that named it would differ after every upload. What
    looks like a key in a sample is hidden: prompts are other people's, and show how to use one.
    """
    wandb, dataset, refused = manifest.wandb, manifest.dataset, manifest.sharing_refused
    if wandb and wandb.sync_command:
        command = without_folders(wandb.sync_command)
        wandb = wandb.model_copy(update={"sync_command": command})
    attempts = [
        a.model_copy(
            update={
                "cause": a.cause and without_folders(a.cause),
                "stack": a.stack and _stack(a.stack),
            }
        )
        for a in manifest.attempts
    ]
    return manifest.model_copy(
        update={
            "hub": None,
            "command": [without_folders(part) for part in manifest.command],
            "preset": manifest.preset and without_folders(manifest.preset),
            "config": _everywhere(manifest.config),
            "base": manifest.base if base_is_on_hub(manifest) else _local(manifest.base),
            "dataset": _dataset(dataset) if dataset else None,
            "wandb": wandb,
            "sharing_refused": refused and without_folders(refused),
            "attempts": attempts,
            "samples": [*map(_sample, manifest.samples)],
        }
    )


def public_report(report: EvalReport) -> EvalReport:
    """`report` as others may see it: where its models and adapter are, without their folders."""
    base = report.base and _without_folder(report.base)
    samples = [*map(_sample, report.samples)]
    model = _without_folder(report.model)
    return report.model_copy(update={"model": model, "base": base, "samples": samples})


def _sample(sample: Sample) -> Sample:
    """The sample as it is, or without what looks like a key, and then without its pieces."""
    texts = {"system": sample.system or "", "prompt": sample.prompt, "answer": sample.answer}
    shown = {name: hidden(text) for name, text in texts.items()}
    whole = "".join(piece.text for piece in sample.pieces)
    if shown == texts and hidden(whole) == whole:
        return sample
    none = {} if sample.system is not None else {"system": None}
    return sample.model_copy(update={**shown, **none, "pieces": []})


def _without_folder(model: ModelRef) -> ModelRef:
    location = model.location if is_hub_id(model.location) else last_name(model.location)
    adapter = model.adapter and without_folders(model.adapter)
    return model.model_copy(update={"location": location, "adapter": adapter})


def without_folders(text: str) -> str:
    r"""`text` with every absolute or home-relative path in it cut to its last name.

    >>> without_folders("--runs-dir=/home/me/my runs"), without_folders("~/models/base/")
    ('--runs-dir=my runs', 'base')
    >>> without_folders("Qwen/Qwen3-0.6B"), without_folders("runs/demo"), without_folders("--x=1/2")
    ('Qwen/Qwen3-0.6B', 'runs/demo', '--x=1/2')
    >>> without_folders("no file '/home/me/a b.json', see https://host/page")
    "no file 'a b.json', see https://host/page"

    Where a path with spaces ends nobody can know: up to a slash that soon follows it is all one.

    >>> without_folders("OSError: /home/me/my old runs/log.txt: no space left")
    'OSError: log.txt: no space left'
    """
    if option := _OPTION.fullmatch(text):
        return option[1] + without_folders(option[2])
    if _WHOLE.match(text) and "\n" not in text:
        return last_name(text)
    return _INSIDE.sub(_cut, text)


def last_name(path: str) -> str:
    r"""The last name of a path of any system; of a home, which names its user, `~`.

    >>> last_name(r"C:\models\base"), last_name("/home/me"), last_name("/")
    ('base', '~', '/')
    """
    clean = path.removeprefix("file://").replace("\\", "/").rstrip("/")
    if _HOMES.fullmatch(clean):
        return "~"
    return clean.rpartition("/")[2] or path


def _cut(match: re.Match[str]) -> str:
    if match["quote"]:
        return match["quote"] + last_name(match["quoted"]) + match["quote"]
    return last_name(match["bare"])


def _everywhere(value: Any) -> Any:
    if isinstance(value, str | PurePath):
        return without_folders(str(value))
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {without_folders(key): _everywhere(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_everywhere(item) for item in cast("list[Any] | tuple[Any, ...]", value)]
    return value


def _stack(stack: Stack) -> Stack:
    return stack.model_copy(update={"command": [without_folders(part) for part in stack.command]})


def _local(base: ModelRef) -> ModelRef:
    # Without the revision, or the name alone could pass for a model of the hub.
    name = last_name(base.location)
    return base.model_copy(update={"location": name, "revision": None})


def _dataset(dataset: DatasetUse) -> DatasetUse:
    sources = [
        source.model_copy(
            update={
                "location": source.location
                if source.kind == "hub" and is_hub_id(source.location)
                else without_folders(source.location),
                "files": [
                    ref.model_copy(update={"path": without_folders(ref.path)})
                    for ref in source.files
                ],
            }
        )
        for source in dataset.sources
    ]
    return dataset.model_copy(
        update={
            "path": without_folders(dataset.path),
            "recipe": _everywhere(dataset.recipe),
            "sources": sources,
        }
    )
