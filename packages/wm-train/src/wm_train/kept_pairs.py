"""Tokenised pairs in a run's folder: made once, by the main process. Tokenises nothing itself.

The other processes map the same file, and so does a run that goes on: of 930,000 pairs that saves
each of them a quarter of an hour of computing and gigabytes of memory. When the run has finished
the folder goes. A disk that is too full for it ends the run with one line: in memory instead, every
process would hold all pairs, and the first checkpoint would find no room either.
"""

from __future__ import annotations

import inspect
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wm_eval import prompting
from wm_train import examples, mapped, neutral
from wm_train.checkpoints import force
from wm_train.examples import Pairs
from wm_train.provenance import sha256, text_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from wm_manifest import RunManifest

log = logging.getLogger(__name__)

FOLDER, STAGING = "pairs", ".pairs.partial"
FILE, ABOUT = "pairs.arrow", "pairs.json"
FORMAT = 1
PACKAGES = ("wm-train", "wm-eval", "wm-prompts", "transformers", "tokenizers", "jinja2")
CODE = (examples, mapped, neutral, prompting)  # in a clone a version may stand for many codes

Key = Mapping[str, str | int | float]


def key(
    manifest: RunManifest,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    neutral_share: float,
) -> Key:
    """All that decides which ids there are, each under the name that is said if it changes."""
    templates = [template.model_dump(mode="json") for template in manifest.templates]
    code = "\n".join(inspect.getsource(module) for module in CODE)
    return {
        "format": FORMAT,
        "dataset": manifest.dataset.manifest_sha256 if manifest.dataset else "",
        "prompts' text": text_sha256(json.dumps(templates)),
        "tokenizer": manifest.tokenizer_sha256 or "",
        "chat template": manifest.chat_template_sha256 or "",
        "special tokens": json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str),
        "end of a turn": prompting.end_of_turn(tokenizer),
        "data.max_tokens": max_tokens,
        "share of neutral prompts": neutral_share,
        "code": text_sha256(code),
        **{f"version of {name}": metadata.version(name) for name in PACKAGES},
    }


def bring(run_dir: Path, key: Key, batch_size: int, make: Callable[[Path], Pairs]) -> Pairs:
    """The pairs of the run's folder; where they are no use, those that `make` writes to a file.

    Why they are none is said in a line of the log.
    """
    folder = run_dir / FOLDER
    if folder.exists():
        why = _fault(folder, key)
        if why is None:
            pairs = read(run_dir)
            examples.enough(len(pairs.data), batch_size)
            return pairs
        log.warning("%s is not used, the rows are tokenised again: %s", folder, why)
    _write(run_dir, key, make)
    return read(run_dir)


def read(run_dir: Path) -> Pairs:
    """The pairs that the main process has made, or found whole: nothing is checked again."""
    about = json.loads((run_dir / FOLDER / ABOUT).read_text("utf-8"))["content"]
    return Pairs(mapped.read(run_dir / FOLDER / FILE), about["too_long"], about["longest"])


def remove(run_dir: Path) -> None:
    """Give the disk back, once nothing is left to train."""
    shutil.rmtree(run_dir / FOLDER, ignore_errors=True)


def _fault(folder: Path, key: Key) -> str | None:
    """Why the pairs in `folder` are no use, in a few words; None if they are."""
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text("utf-8"))
        content: dict[str, Any] = about["content"]
        if about["sha256"] != _digest(content):
            return f"{ABOUT} has other content than was written"
        past: dict[str, Any] = content["key"]
        others = [name for name in {**past, **key} if past.get(name) != key.get(name)]
        if others:
            return f"made with another {' and another '.join(others)}"
        if (size := (folder / FILE).stat().st_size) != content["bytes"]:
            return f"{FILE} has {size:,} bytes, not {content['bytes']:,}"
        if sha256(folder / FILE) != content["sha256"]:
            return f"{FILE} has other content than was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError) as error:
        return f"{ABOUT} cannot be read ({type(error).__name__})"
    return None


def _write(run_dir: Path, key: Key, make: Callable[[Path], Pairs]) -> None:
    """Make them beside their place, force them onto the disk, and only then give them their name.

    What is half made goes at once: if it filled the disk, the run's record needs the room.
    """
    staging, folder = run_dir / STAGING, run_dir / FOLDER
    for old in (staging, folder):
        shutil.rmtree(old, ignore_errors=True)
    staging.mkdir()
    try:
        pairs, file = make(staging / FILE), staging / FILE
        size, digest = file.stat().st_size, sha256(file)
        content = {
            **{"key": dict(key), "bytes": size, "sha256": digest},
            **{"too_long": pairs.too_long, "longest": pairs.longest},
        }
        about = {"sha256": _digest(content), "content": content}
        (staging / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
        for path in (file, staging / ABOUT, staging):
            force(path)
        staging.rename(folder)
        force(run_dir)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _digest(content: Mapping[str, Any]) -> str:
    return text_sha256(json.dumps(content, sort_keys=True))
