"""Keeps libraries from talking on the screen beside a run."""

from __future__ import annotations

import logging
import re
import sys
import warnings

from wm_eval.kernels import without_note_of_packing


def quieten() -> None:
    """No progress bars and notes of the libraries from now on; warnings and errors stay.

    On a terminal the bars of downloads stay too: a base has gigabytes.
    """
    import datasets
    import huggingface_hub
    import transformers

    # PEFT 0.21 asks a model for a property that transformers 5.23 has renamed.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    # Qwen3's configuration names no padding token; the trainer takes its tokenizer's, and says so.
    logging.getLogger("transformers.trainer_utils").addFilter(_says_more)
    datasets.disable_progress_bars()
    without_note_of_packing()
    transformers.utils.logging.disable_progress_bar()  # and those of downloads with them
    if sys.stderr.isatty():
        huggingface_hub.utils.enable_progress_bars()


def _says_more(record: logging.LogRecord) -> bool:
    """Whether a line says more than that a model was given its tokenizer's padding token."""
    return not re.search(r"Updated tokens: \{'pad_token_id': \d+\}", record.getMessage())
