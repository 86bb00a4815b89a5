"""What words of a command line that fit nowhere are answered with. Parses none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from wm_train import presets
from wm_train.errors import ConfigError

if TYPE_CHECKING:
    from cyclopts import UnusedCliTokensError

READ_ONLY = ("status", "runs", "presets")


def no_command(word: str, commands: Iterable[str]) -> ConfigError:
    """Of a word that is no command; it may have been meant as a preset.

    >>> print(no_command("demo", ["plan", "runs"]))
    there is no command 'demo'; there are: plan, runs; for the preset: wm-train --preset demo
    """
    there = sorted(commands)
    near = difflib.get_close_matches(word, there, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = f"{hint or ';'} there are: {', '.join(there)}"
    return ConfigError(f"there is no command {word!r}{listed}; {_with_preset('wm-train', word)}")


def no_word(command: str, word: str) -> ConfigError:
    """Of a word after a command that takes options alone.

    >>> print(no_word("plan", "demo"))
    wm-train plan takes options alone, not 'demo'; for the preset: wm-train plan --preset demo
    """
    preset = _with_preset(f"wm-train {command}", word)
    return ConfigError(f"wm-train {command} takes options alone, not {word!r}; {preset}")


def too_many(command: str, word: str) -> ConfigError:
    """Of a word behind all that a command takes.

    >>> print(too_many("status", "second"))
    wm-train status has no use for 'second'; what it takes: wm-train status --help
    """
    return ConfigError(
        f"wm-train {command} has no use for {word!r}; what it takes: wm-train {command} --help"
    )


def unused(error: UnusedCliTokensError) -> str:
    """The first word that nothing takes."""
    words: list[str] | None = cast(Any, error).unused_tokens
    assert words
    return words[0]


def _with_preset(command: str, word: str) -> str:
    if word in presets.names() or word.endswith((".yaml", ".yml")):
        return f"for the preset: {command} --preset {word}"
    return f"a preset is given with --preset, as in: {command} --preset {presets.DEFAULT}"


def check_options(command: str, given: Mapping[str, str | bool | None]) -> None:
    """Raise `ConfigError` for options of a training before a command that would pass over them."""
    for option, value in given.items():
        if not value:
            continue
        if command == "plan" and option == "preset":
            raise ConfigError(f"--preset comes after plan: wm-train plan --preset {value}")
        if command == "replay" and option != "name":
            raise ConfigError(f"wm-train replay takes no --{option}: it repeats a run as it was")
        if command in READ_ONLY:
            run = value if option in ("name", "resume") else "NAME"
            raise ConfigError(
                f"wm-train {command} takes no --{option}: it starts no run; to look at one: "
                f"wm-train status {run}"
            )
