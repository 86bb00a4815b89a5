"""Renders a run's manifest as a model card and uploads it. Trains and evaluates nothing."""

from wm_publish.card import render_card
from wm_publish.errors import PublishError
from wm_publish.release import plan
from wm_publish.run import Outcome, command, prepare, publish, stage

__all__ = [
    "Outcome",
    "PublishError",
    "command",
    "plan",
    "prepare",
    "publish",
    "render_card",
    "stage",
]
