"""Renders a run's manifest as a model card and uploads it. Trains and evaluates nothing."""

from wm_publish.card import render_card
from wm_publish.errors import PublishError

__all__ = ["PublishError", "render_card"]
