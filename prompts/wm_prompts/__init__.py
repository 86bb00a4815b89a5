"""Every prompt template of wm, by id. Knows nothing of models, datasets or chat templates."""

from wm_prompts.templates import PromptError, ids, render, sha256, source, variants

__all__ = ["PromptError", "ids", "render", "sha256", "source", "variants"]
