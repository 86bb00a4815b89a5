"""Tells torch which kernels to take and how many to keep. Imported, it imports no torch."""

from __future__ import annotations

import os
import sys

# Two caches hold each kernel: oneDNN's own, and that of the layer through which torch calls it.
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
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
