"""Tells torch which kernels to take and how many to keep. Imported, it imports no torch."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

# Two caches hold each kernel: oneDNN's own, and that of the layer through which torch calls it.
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
PACKING = "support_avx512bf16_for_cpu"  # of a layer of bitsandbytes
KEPT = 128  # a pass over SmolLM2 with an adapter has about 60 shapes of products


def bound_caches() -> None:
    """Let torch keep 128 kernels and not 1,024, unless the environment says otherwise.

    A bfloat16 product on a CPU is a kernel of about 1 MB for each shape. Batches of many lengths
    have a new shape each, and their kernels filled more than half of a training's memory.
    """
    if "torch" not in sys.modules:  # which reads them once
        for name in CACHES:
            os.environ.setdefault(name, str(KEPT))


def without_cudnn_attention() -> None:
    """Let torch take attention from the kernels that are made for any shape: docs/adr/0027.

    On an H100, H200 or B200 it takes cuDNN's, under a mask too, and cuDNN plans anew for each size
    and stride. An answer has new ones at every token, and a training in almost every pass. Of no
    effect without a GPU.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def without_packing(model: Any) -> None:
    """Let layers of bitsandbytes multiply in evaluation as they do in training.

    On a processor with AVX-512 BF16, 0.49 and later pack the weights anew at a layer's first pass
    in evaluation mode, for a kernel without a gradient. Training that goes on after it gets none
    through the layer: all adapters have one, by the ways around it, and it is wrong. Torch warns
    once. A checkpoint packs the weights back, with other scales.
    """
    for module in model.modules():
        if hasattr(module, PACKING):
            setattr(module, PACKING, False)


def without_note_of_packing() -> None:
    """Have bitsandbytes not say at its import that it lacks a faster kernel of that kind."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
