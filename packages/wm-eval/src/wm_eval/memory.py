"""Tells an error of too little memory from any other. Frees nothing."""

from __future__ import annotations

import torch

# Of errors that torch raises as plain RuntimeError: the libraries below it, and the CPU.
SAID = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # its handle is made at the first product, when all is taken
    "CUDNN_STATUS_ALLOC_FAILED",
    "can't allocate memory",
)


def ran_out(error: BaseException) -> bool:
    """Whether smaller batches may do where this was raised.

    >>> ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    True
    >>> ran_out(RuntimeError("shape mismatch"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID)
