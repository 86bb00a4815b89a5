"""Finds and loads datasets of the Hugging Face hub at a pinned commit. Judges no row."""

# huggingface_hub's and datasets' own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from wm_data.errors import WmDataError
from wm_data.recipe import AnySource
from wm_data.values import Where, check_columns

TRAIN_NAMES = ("train", "training")
HELD_OUT_NAMES = ("heldout", "held_out", "holdout", "test", "eval", "validation")


def resolve(source: AnySource) -> str:
    """The commit that the source's revision (or the main branch) stands for now."""
    import huggingface_hub
    from huggingface_hub import errors

    assert source.hub is not None
    revision = source.revision or "main"
    try:
        info = huggingface_hub.HfApi().dataset_info(source.hub, revision=revision)
    except errors.RevisionNotFoundError:
        raise WmDataError(
            f"hub dataset {source.hub}: has no revision {revision!r}; "
            f"correct it in source {source.id}"
        ) from None
    except errors.GatedRepoError:
        raise WmDataError(
            f"hub dataset {source.hub}: is gated; accept its terms on its page and `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise WmDataError(
            f"hub dataset {source.hub}: not found, or private; check the name or `hf auth login`"
        ) from None
    except Exception as error:
        raise _unreachable(source, error) from error
    if not info.sha:
        raise WmDataError(f"hub dataset {source.hub}: the hub named no commit for {revision!r}")
    return info.sha


def choose_splits(source: AnySource, found: list[str]) -> list[str]:
    """The hub's splits to read: those the recipe names, or those that fit the role."""
    if source.splits is not None:
        missing = [name for name in source.splits if name not in found]
        if missing or not source.splits:
            raise _no_split(source, found, ", ".join(missing) or "any")
        return source.splits
    if len(found) == 1 or source.role == "both":
        return found
    names = TRAIN_NAMES if source.role == "train" else HELD_OUT_NAMES
    chosen = [name for name in names if name in found][:1]
    if not chosen:
        raise _no_split(source, found, " or ".join(names))
    return chosen


def records_of(source: AnySource, revision: str) -> Iterator[tuple[Where, dict[str, object]]]:
    """Fetch the source's splits at a commit, now, and give their records with their places."""
    import datasets

    assert source.hub is not None
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()  # each step of them would be a line of the log
    try:
        builder: Any = datasets.load_dataset_builder(source.hub, source.config, revision=revision)
    except ValueError as error:
        _check_config(source, revision)
        raise _unreachable(source, error) from error
    except Exception as error:
        raise _unreachable(source, error) from error
    # Where the hub fails, `datasets` takes what its cache holds, of whatever commit.
    if builder.hash != revision:
        raise WmDataError(
            f"hub dataset {source.hub}: commit {revision} could not be fetched, and the cache has "
            f"another one ({builder.hash}), which was not taken; try again when the hub answers"
        )
    try:
        found = datasets.get_dataset_split_names(source.hub, source.config, revision=revision)
    except Exception as error:
        raise _unreachable(source, error) from error
    chosen = choose_splits(source, [str(split) for split in found])
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise _unreachable(source, error) from error
    parts: list[tuple[str, Any]] = []
    for name in chosen:
        part = builder.as_dataset(split=name)
        place = f"{source.hub}, split {name}"
        check_columns(source, part.column_names, place)
        parts.append((place, part.select_columns(list(source.columns.given().values()))))
    return (
        (Where(number, place, place), record)
        for place, part in parts
        for number, record in enumerate(part, 1)
    )


def _check_config(source: AnySource, revision: str) -> None:
    """Raise where the dataset has several configs and the source names none of them."""
    import datasets

    assert source.hub is not None
    try:
        found = datasets.get_dataset_config_names(source.hub, revision=revision)
    except Exception as error:
        raise _unreachable(source, error) from error
    if source.config not in found and (source.config or len(found) > 1):
        wanted = f"has no config {source.config!r}" if source.config else "has several configs"
        raise WmDataError(
            f"hub dataset {source.hub}: {wanted}; name one of {', '.join(found)} in the recipe: "
            f"source {source.id}, config: NAME"
        )


def _unreachable(source: AnySource, error: Exception) -> WmDataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return WmDataError(
        f"hub dataset {source.hub}: could not be loaded ({reason}); check the network, or download "
        f"it and give source {source.id} a `file:` in place of `hub:`"
    )


def _no_split(source: AnySource, found: list[str], wanted: str) -> WmDataError:
    return WmDataError(
        f"hub dataset {source.hub}: has no split {wanted}; it has {', '.join(found)}; name those "
        f"to read, in the recipe (source {source.id}, splits: [...]) or in the command: "
        f"--source.{source.id} {source.hub}:SPLIT,SPLIT"
    )
