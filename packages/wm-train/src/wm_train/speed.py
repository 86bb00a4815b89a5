"""How fast training is, and what share of the device's peak that is. Trains nothing.

The clock stands still in evaluations and while a checkpoint is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from wm_train.config import TrainConfig
from wm_train.packing import Packing

# Dense bfloat16 peak with float32 sums, 1e12 operations a second, by the name that CUDA gives the
# device: NVIDIA's data sheets of each (theirs with sparsity halved), and for the RTX cards the
# tables in the Ada and Ampere GA102 architecture papers. A device that is not here has no MFU.
PEAK_TFLOPS = {
    "NVIDIA A100-PCIE-40GB": 312.0,
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA GeForce RTX 3090": 71.0,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA H100 80GB HBM3": 989.4,
    "NVIDIA H100 NVL": 835.5,
    "NVIDIA H100 PCIe": 756.5,
    "NVIDIA H200": 989.4,
    "NVIDIA L4": 121.0,
    "NVIDIA L40S": 362.0,
}


class Speed:
    """A clock over training alone.

    `mfu_per_token` is the model FLOPs utilisation (arXiv 2204.02311, appendix B) at one token a
    second; None where it is not known.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._since: float | None = None
        self._seconds = 0.0
        self.mfu_per_token: float | None = None

    def start(self) -> None:
        """Go on; nothing if it runs."""
        if self._since is None:
            self._since = self._now()

    def stop(self) -> None:
        """Stand still; nothing if it does."""
        if self._since is not None:
            self._seconds += self._now() - self._since
            self._since = None

    @contextmanager
    def paused(self) -> Generator[None]:
        """Leave out what happens inside."""
        ran = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if ran:
                self.start()

    def take(self, tokens: float, steps: int) -> dict[str, float]:
        """Means since the last call, as they go into the log; empty where no time has passed."""
        running = self._since is not None
        self.stop()
        seconds, self._seconds = self._seconds, 0.0
        if running:
            self.start()
        if seconds <= 0 or steps <= 0:
            return {}
        rate = tokens / seconds
        means = {"tokens/per_second": rate, "step_seconds": seconds / steps}
        return means | ({} if self.mfu_per_token is None else {"mfu": rate * self.mfu_per_token})


def spent(lines: Iterable[Mapping[str, Any]]) -> float:
    """Seconds in the steps that a log's lines tell of, whichever attempts made them.

    >>> spent([{"step": 2, "step_seconds": 1.5}, {"step": 5, "step_seconds": 2.0}])
    9.0
    """
    seconds, before = 0.0, 0
    for line in lines:
        seconds += line.get("step_seconds", 0.0) * (line["step"] - before)
        before = line["step"]
    return seconds


def mfu_per_token(
    config: TrainConfig,
    model: Any,
    packing: Packing,
    examples: Sequence[Mapping[str, Any]],
    device: str,
) -> float | None:
    """What one token a second of `model` uses of `device`'s peak; None where that is not known.

    Counts what the model needs, not what is computed twice to save memory: recomputed activations
    and logits are left out. The peak is bfloat16's, so float32 has no figure.
    """
    from wm_train import estimate, shapes
    from wm_train.plan import load_of

    peak = PEAK_TFLOPS.get(device)
    if peak is None or config.model.precision != "bfloat16":
        return None
    load, _ = load_of(packing, config.optim.batch_size, examples)
    needed = estimate.flops(config, shapes.measured(model), load, recomputed=False)
    return needed / load.tokens / (peak * 1e12)
