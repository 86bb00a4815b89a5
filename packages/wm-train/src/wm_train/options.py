"""Fields of a preset as options of a command line. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Parameter

from wm_train import presets
from wm_train.config import TrainConfig
from wm_train.errors import ConfigError


def _as_in_yaml(name: str) -> str:
    return name


Fields = Annotated[TrainConfig, Parameter(name="*", name_transform=_as_in_yaml)]


def train(*, config: Fields) -> TrainConfig:
    """Every field of a preset can be set on the command line, under the name that it has there."""
    return config


def over_preset(preset: str, options: Sequence[str]) -> TrainConfig:
    """The preset with fields given on the command line in the place of its own."""
    parser = App(result_action="return_value", suppress_keyboard_interrupt=False)
    parser.default(train)
    return parsed(parser, preset, options)


def parsed(parser: App, preset: str, options: Sequence[str]) -> Any:
    """What the parser makes of the options and, where they are silent, the preset's fields."""
    fields = presets.without_replaced(presets.load(preset), options)
    parser.config = cyclopts.config.Dict(fields, source=f"preset {preset}")
    try:
        return parser(list(options), exit_on_error=False, print_error=False)
    except (cyclopts.MissingArgumentError, cyclopts.ValidationError) as error:
        # They name an option, or a section, that nobody has typed.
        if absent := presets.missing(fields, options):
            raise ConfigError(f"preset {preset}: {', '.join(absent)}") from error
        raise
