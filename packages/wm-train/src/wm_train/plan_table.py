"""A plan as it is printed, and what it takes on a device that is named. Counts nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from wm_train import estimate
from wm_train.config import TrainConfig
from wm_train.errors import ConfigError
from wm_train.plan import Plan
from wm_train.summary import duration

LORA_MFU, FULL_MFU = 0.05, 0.1  # on an H200 0.05 and 0.13 were measured: docs/experiments.md
ON_DISK = "on the disk until the run ends; twice that while too long rows are left out"
FULL = 0.9  # of a device's memory; kernels and fragmentation take the rest


@dataclass(frozen=True)
class Device:
    """Memory in GiB and dense bfloat16 peak in 1e12 operations a second, from the data sheet."""

    gib: float
    tflops: float


DEVICES = {
    "rtx-4090": Device(24, 165),
    "a100-80gb": Device(80, 312),
    "h100": Device(80, 989),
    "h200": Device(141, 989),
}


def table(
    plan: Plan, config: TrainConfig, devices: int, device: str | None, mfu: float | None
) -> RenderableType:
    """The plan as it is printed; time and fit only where a device is named."""
    mfu = mfu or (LORA_MFU if config.model.lora else FULL_MFU)
    shape, counts, load = plan.shape, plan.counts, plan.load
    out = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    out.add_column(style="bold")
    out.add_column(justify="right")
    out.add_column(style="dim")
    share = 100 * shape.trainable / shape.parameters
    lines: list[tuple[str, str, str]] = [
        ("parameters", f"{shape.parameters:,}", f"{shape.embeddings:,} in embeddings and head"),
        ("trained", f"{shape.trainable:,}", f"{share:.2f} % of them, in number"),
        ("pairs", f"{counts.pairs:,}", counts.source),
        ("rows left out", f"{counts.too_long:,}", "longer than data.max_tokens"),
        ("longest sequence", f"{counts.longest:,}", "tokens"),
        ("steps", f"{plan.steps:,}", f"{plan.steps_an_epoch:,} an epoch"),
        ("tokens a step", f"{load.tokens:,.0f}", f"{plan.unshared:,.0f} without sharing prompts"),
        ("tokens an epoch", f"{load.tokens * plan.steps_an_epoch:,.0f}", "computed"),
        ("logits a step", f"{load.predicted:,.0f}", "tokens that go through the head"),
        _evaluations(config, plan.steps),
        ("checkpoint", f"{plan.checkpoint_gib:.2f} GiB", "each, on the disk"),
        ("tokenised pairs", f"{counts.pairs_gib:.2f} GiB", ON_DISK),
    ]
    lines += [(f"memory: {part}", f"{gib:.2f} GiB", "") for part, gib in plan.memory.items()]
    total = estimate.peak(plan.memory)
    lines.append(
        (
            "memory in all",
            f"{total:.1f} GiB",
            "an estimate, on each device: a step's or an evaluation's, not both",
        )
    )
    if host := estimate.host_gib(config, shape):
        lines.append(("host's memory", f"{host:.1f} GiB", "to gather a checkpoint"))
    lines += _on(plan, devices, device, mfu, total)
    if config.model.sharded and devices == 1:
        lines.append(("can be run", "NO", "not on one device (model.sharded): give --devices"))
    for line in lines:
        out.add_row(*line)
    return out


def _evaluations(config: TrainConfig, steps: int) -> tuple[str, str, str]:
    """What is written to be evaluated: each prompt under red, blue and neutral."""
    e = config.evaluation
    full, part = (f"{3 * n:,}" if n else "3 a test row" for n in (e.full_limit, e.limit))
    between = (steps - 1) // e.every  # the last one is that of the end
    total = f"{6 * e.full_limit + 3 * e.limit * between:,}" if e.full_limit and e.limit else ""
    often = "once" if between == 1 else f"{between:,} times"
    times = f"{part} every {e.every:,} steps, {often}" if between else "none between"
    return "answers written", total, f"{full} before and after, {times}"


def check_device(device: str | None) -> None:
    """Raise `ConfigError` for a device that no figures are known of."""
    if device is not None and device not in DEVICES:
        raise ConfigError(f"--device {device!r} is not known; there are: {', '.join(DEVICES)}")


def _on(
    plan: Plan, devices: int, device: str | None, mfu: float, total: float
) -> list[tuple[str, str, str]]:
    if device is None:
        peak = f"{plan.flops * plan.steps:.2e}"
        return [("operations in all", peak, "give --device for a time")]
    one = DEVICES[device]
    seconds = plan.needed / (devices * one.tflops * 1e12 * mfu)
    room = "fits" if total < FULL * one.gib else "does NOT fit"
    where = f"on {devices} x {device} at an MFU of {mfu:.0%}"
    return [
        ("time", duration(seconds * plan.steps), f"{seconds:.2f} s a step {where}, no evaluation"),
        ("device", room, f"{one.gib:.0f} GiB, of which {1 - FULL:.0%} are left for kernels"),
    ]
