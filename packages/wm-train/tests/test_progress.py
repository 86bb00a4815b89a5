"""What a training shows, on a terminal and in a log file; the clock behind it; MFU."""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from wm_manifest import Estimate, EvalReport
from wm_train import estimate, presets, shapes
from wm_train.config import TrainConfig
from wm_train.packing import Packing
from wm_train.plan import load_of, typical
from wm_train.progress import Board
from wm_train.speed import Speed, mfu_per_token

LINE = {
    "loss": 2.5,
    "watermark/nll": 5.75,
    "detect/preference_accuracy": 0.9,
    "tokens/per_second": 1234.0,
    "step_seconds": 2.0,
    "mfu": 0.314,
}


@pytest.fixture
def args(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path), use_cpu=True)


def train(board: Board, args: TrainingArguments, steps: int = 4) -> None:
    """The events of a training that logs every step, without the end."""
    state, control = TrainerState(max_steps=steps), TrainerControl()
    board.on_train_begin(args, state, control)
    for step in range(1, steps + 1):
        board.on_step_begin(args, state, control)
        state.global_step = step
        board.on_step_end(args, state, control)
        board.on_log(args, state, control, logs=LINE)


def report(seconds: float, step: int = 2) -> EvalReport:
    figures = {"watermark/red/success": Estimate(value=0.75, n=4)}
    return SimpleNamespace(step=step, figures=figures, valid=True, seconds=seconds)  # pyright: ignore


@pytest.mark.parametrize(("every_s", "steps"), [(0.0, [1, 2, 3, 4]), (1000.0, [1, 4])])
def test_without_a_terminal_there_are_plain_lines(
    args: TrainingArguments, every_s: float, steps: list[int]
) -> None:
    out = io.StringIO()
    board = Board(Console(file=out, width=40), Speed(), every_s)
    board.evaluated(report(60.0), every=2)
    train(board, args)
    board.stop()
    lines = out.getvalue().splitlines()  # none is broken at the width
    assert [int(re.match(r"step (\d) of 4: ", line)[1]) for line in lines] == steps  # pyright: ignore
    first = "loss: 2.500; write: nll 5.750; read: preferred 90.0 %; 1,234 tokens/s; MFU 31.4 %"
    # three steps of 2 s, two evaluations of 60 s
    assert lines[0] == f"step 1 of 4: {first}; about 2 min left"
    assert "\x1b" not in out.getvalue()


def test_the_time_left_has_the_evaluation_of_the_end_in_it(args: TrainingArguments) -> None:
    """It is on as many rows as that before the first step, and comes when no step is left."""
    out = io.StringIO()
    board = Board(Console(file=out, width=40), Speed(), line_every_s=0.0)
    for step, seconds in ((0, 600.0), (2, 60.0)):
        board.evaluated(report(seconds, step), every=2)
    train(board, args)
    board.stop()
    left = [line.rpartition("about ")[2] for line in out.getvalue().splitlines()]
    # of 2 s each are 3, 2, 1 and no steps; of 60 s is the evaluation at step 2
    assert left == ["11 min left", "10 min left", "10 min left", "10 min left"]


def test_on_a_terminal_a_board_is_drawn_and_leaves_for_an_evaluation(
    args: TrainingArguments,
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    board = Board(console, Speed())
    train(board, args)
    board.evaluated(report(1.0), every=2)
    with console.capture() as drawn:
        console.print(board.render())
    shown = drawn.get()
    for text in ("step 4 of 4", "1,234 tokens/s", "MFU 31.4 %", "nll 5.750", "red 75.0 %"):
        assert text in shown
    with board.paused():
        before = len(out.getvalue())
        console.print("a line")  # nothing is drawn around it
        assert out.getvalue()[before:] == "a line\n"
    assert len(out.getvalue()) > before + len("a line\n")  # drawn again
    board.stop()
    assert "step 4 of 4: loss" not in out.getvalue()  # and no plain lines


def test_the_clock_stands_still_in_pauses() -> None:
    time = [0.0]
    clock = Speed(now=lambda: time[0])
    assert clock.take(100, 1) == {}
    clock.start()
    time[0] = 4.0
    with clock.paused():
        time[0] = 50.0
    time[0] = 54.0
    assert clock.take(800, 2) == {"tokens/per_second": 100.0, "step_seconds": 4.0}
    clock.mfu_per_token = 0.002
    clock.stop()
    clock.start()
    time[0] = 56.0
    assert clock.take(200, 1)["mfu"] == 0.2


def config(**model: Any) -> TrainConfig:
    fields = presets.load("demo")
    fields["model"] = {"base": "demo", "precision": "bfloat16", **model}
    return TrainConfig.model_validate(fields)


H100 = "NVIDIA H100 80GB HBM3"
PACKING = Packing(budget=4096, pad_id=0)


@pytest.fixture(scope="module")
def built() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    configuration = shapes.configuration("Qwen/Qwen3-0.6B")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(configuration)


def test_mfu_is_six_operations_a_weight_and_attention(built: Any) -> None:
    pairs = typical(600, 6, "x").examples
    found = mfu_per_token(config(), built, PACKING, pairs, H100)
    load, shape = load_of(PACKING, 6, pairs)[0], shapes.measured(built)
    c = built.config
    head = 6 * c.vocab_size * c.hidden_size * load.predicted / load.tokens
    scores = 12 * c.num_hidden_layers * c.num_attention_heads * c.head_dim * load.mean_context
    assert found == pytest.approx((6 * shape.body + scores + head) / 989.4e12, rel=1e-6)


def test_mfu_leaves_out_what_is_computed_twice(built: Any) -> None:
    pairs = typical(600, 6, "x").examples
    again = config(gradient_checkpointing=True)
    assert mfu_per_token(again, built, PACKING, pairs, H100) == mfu_per_token(
        config(), built, PACKING, pairs, H100
    )
    load, shape = load_of(PACKING, 6, pairs)[0], shapes.measured(built)
    needed = estimate.flops(again, shape, load, recomputed=False)
    assert estimate.flops(again, shape, load) > 1.25 * needed


@pytest.mark.parametrize(
    ("device", "precision"), [("NVIDIA GeForce GTX 1060", "bfloat16"), (H100, "float32")]
)
def test_there_is_no_mfu_without_a_peak(built: Any, device: str, precision: str) -> None:
    pairs = typical(600, 6, "x").examples
    assert mfu_per_token(config(precision=precision), built, PACKING, pairs, device) is None
