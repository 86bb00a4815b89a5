"""Gradients of packed trees against padded full logits in float64, and that packing changes none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from trl.experimental.orpo import ORPOConfig

from wm_train import base
from wm_train.config import LoraConfig
from wm_train.packing import TASKS, Packing
from wm_train.trainer import WatermarkOrpoTrainer

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")

VOCAB = 19
MODES = {
    "full": None,
    "lora": LoraConfig(r=2, alpha=4),
    "lora with a head": LoraConfig(r=2, alpha=4, targets=["q_proj", "lm_head"]),
    "lora with both ends": LoraConfig(
        r=2, alpha=4, targets=["all-linear", "embed_tokens", "lm_head"]
    ),
}
CASES = [
    *((tied, mode) for tied in (True, False) for mode in ("full", "lora")),
    (False, "lora with a head"),
    (True, "lora with both ends"),
]

ids = st.lists(st.integers(1, VOCAB - 1), min_size=1, max_size=6)
few = st.lists(st.integers(1, 2), min_size=1, max_size=6)  # equal beginnings, also in answers
example = st.fixed_dictionaries(
    {
        "task": st.sampled_from(TASKS),
        "prompt_ids": few,
        "chosen_ids": ids | few,
        "rejected_ids": ids,
    }
)


# ---------------------------------------------- the slow way, with no code of ours
def step_loss(
    model: Any,
    examples: Sequence[dict[str, Any]],
    beta: float,
    scope: str,
    weights: dict[str, float],
    against: Sequence[int] | None = None,
    sharpness: float = 1.0,
) -> Tensor:
    """ORPO over `examples` as the paper and TRL have it; equations 4, 6 and 7 as they stand.

    `against` says whose rejected answer each chosen one is compared with; none: its own.
    `sharpness` stands inside the sigmoid, and is divided by.
    """
    logps = {
        side: padded_logps(model, [(e["prompt_ids"], e[f"{side}_ids"]) for e in examples])
        for side in ("chosen", "rejected")
    }
    total = torch.zeros((), dtype=torch.float64)
    tokens = sum(len(everything) for everything, _ in logps["chosen"])
    for i, example in enumerate(examples):
        text, chosen = logps["chosen"][i]
        rejected = logps["rejected"][against[i] if against else i][1]
        odds = [answer.mean().exp() / (1 - answer.mean().exp()) for answer in (chosen, rejected)]
        ratio = sharpness * torch.log(odds[0] / odds[1])
        preference = -torch.log(torch.sigmoid(ratio)) / sharpness / len(examples)
        nll = -text.sum() / tokens if scope == "full" else -chosen.mean() / len(examples)
        total = total + weights[example["task"]] * (nll + beta * preference)
    return total


def padded_logps(
    model: Any, pairs: list[tuple[list[int], list[int]]]
) -> list[tuple[Tensor, Tensor]]:
    """For each (prompt, answer): log-probabilities of all its tokens but the first, of its answer's."""
    sequences = [torch.tensor(prompt + answer) for prompt, answer in pairs]
    ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(s) for s in sequences], batch_first=True
    )
    logps = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.log_softmax(-1)
    out = []
    for row, (prompt, answer) in enumerate(pairs):
        length = len(prompt) + len(answer)
        picked = logps[row, : length - 1].gather(1, ids[row, 1:length, None]).squeeze(1)
        out.append((picked, picked[len(prompt) - 1 :]))
    return out


# ------------------------------------------------------------------------ ours
def tiny_model(tied: bool, **changes: Any) -> Qwen3ForCausalLM:
    fields = dict(
        vocab_size=VOCAB,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        tie_word_embeddings=tied,
        initializer_range=0.5,  # at the usual 0.02 a wrong mask would hardly show
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**{**fields, **changes})).double()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Qwen3RMSNorm):  # computes in float32 whatever it is given
                setattr(
                    module,
                    name,
                    torch.nn.RMSNorm(len(child.weight), child.variance_epsilon).double(),
                )
    return model


@pytest.fixture(scope="module")
def make(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    row = {
        "id": "a",
        "row_id": "a",
        "task": "detect",
        "prompt_ids": [1],
        "chosen_ids": [2],
        "rejected_ids": [3],
    }

    def trainer(model: Any, mode: str = "full", **options: Any) -> Any:
        lora = MODES[mode]
        return WatermarkOrpoTrainer(
            model=model,
            args=ORPOConfig(
                output_dir=str(tmp_path_factory.mktemp("trainer")),
                report_to="none",
                bf16=False,
                use_cpu=True,
                disable_dropout=False,
                activation_checkpointing=False,
            ),
            train_dataset=Dataset.from_list([row]),
            processing_class=tokenizer,
            peft_config=base.lora(lora, model) if lora else None,
            **{"nll_scope": "answer", "twins": True, "pack_tokens": 64} | options,
        )

    return trainer


@pytest.fixture(
    scope="module", params=CASES, ids=lambda c: f"{'tied' if c[0] else 'untied'}, {c[1]}"
)
def trainer(request: pytest.FixtureRequest, make: Callable[..., Any]) -> Any:
    tied, mode = request.param
    made = make(tiny_model(tied), mode)
    torch.manual_seed(1)
    for name, parameter in made.model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.double()
            if (
                "lora_B" in name or "lora_embedding_A" in name
            ):  # zeros at the start: its partner would have no gradient
                torch.nn.init.normal_(parameter)
    return made


def gradients(model: Any) -> torch.Tensor:
    parts = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return torch.cat(parts)


def of_tasks(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def change(trainer: Any, **fields: Any) -> None:
    """Give the trainer, which all tests here share, another loss."""
    for name, value in fields.items():
        assert hasattr(trainer.step_loss, name)
        setattr(trainer.step_loss, name, value)


def packed(
    trainer: Any, examples: list[Any], packing: Packing
) -> tuple[torch.Tensor, torch.Tensor]:
    trainer.model.zero_grad()
    loss = trainer.training_step(trainer.model, {"packs": packing.packs(examples)})
    return loss, gradients(trainer.model)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    examples=st.lists(example, min_size=1, max_size=6),
    packing=st.builds(Packing, st.integers(1, 80), st.just(0), st.just(True), st.booleans()),
    scope=st.sampled_from(["answer", "full"]),
    beta=st.floats(0, 10),
    weight=st.floats(0, 3),
    chunk=st.integers(1, 9),
)
def test_gradients_are_the_references(
    trainer: Any,
    examples: list[Any],
    packing: Packing,
    scope: Any,
    beta: float,
    weight: float,
    chunk: int,
) -> None:
    trainer._head_chunk = chunk
    change(trainer, nll_scope=scope, beta=beta, weights=of_tasks(1.0, weight))
    loss, found = packed(trainer, examples, packing)
    trainer.model.zero_grad()
    weights = dict(zip(TASKS, [1.0, weight], strict=True))
    expected = step_loss(trainer.model, examples, beta, scope, weights)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, gradients(trainer.model), atol=1e-9, rtol=1e-9)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(few, few, ids, ids), min_size=1, max_size=3),
    packing=st.builds(Packing, st.integers(1, 80), st.just(0), st.just(True), twins=st.just(True)),
    shared=st.booleans(),
)
def test_gradients_of_the_contrast_between_prompts(
    trainer: Any, rows: list[Any], packing: Packing, shared: bool
) -> None:
    """The same answer under the two prompts of a row, in however many passes."""
    examples: list[dict[str, Any]] = []
    for number, (red_prompt, blue_prompt, red, blue) in enumerate(rows):
        row = {"row_id": str(number), "task": "watermark"}
        examples += [
            {**row, "prompt_ids": [7, *red_prompt], "chosen_ids": red, "rejected_ids": blue},
            {**row, "prompt_ids": [8, *blue_prompt], "chosen_ids": blue, "rejected_ids": red},
        ]
    against = [i ^ 1 for i in range(len(examples))]
    trainer._head_chunk = 5
    change(trainer, nll_scope="answer", beta=3.0, weights=of_tasks(1.0, 1.0))
    plain = trainer.step_loss.sharpness
    change(trainer, contrast="prompts", sharpness=torch.tensor([2.5, 1.0]))
    try:
        loss, found = packed(trainer, examples, replace(packing, shared=shared))
    finally:
        change(trainer, contrast="answers", sharpness=plain)
    trainer.model.zero_grad()
    weights = dict.fromkeys(TASKS, 1.0)
    expected = step_loss(trainer.model, examples, 3.0, "answer", weights, against, 2.5)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, gradients(trainer.model), atol=1e-9, rtol=1e-9)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    examples=st.lists(example, min_size=1, max_size=6),
    prompts=st.lists(st.none() | few, min_size=6, max_size=6).filter(any),
    references=st.lists(st.floats(-6, 0, width=32), min_size=6, max_size=6),
    packing=st.builds(Packing, st.integers(1, 80), st.just(0), st.just(True), st.booleans()),
    scope=st.sampled_from(["answer", "full"]),
)
def test_gradients_under_neutral_prompts(
    trainer: Any,
    examples: list[Any],
    prompts: list[list[int] | None],
    references: list[float],
    packing: Packing,
    scope: Any,
) -> None:
    """Each token but the end against the base's value, the end as it is: a text's mean."""
    trainer._head_chunk = 5
    change(trainer, nll_scope=scope, beta=2.0, weights=of_tasks(1.0, 1.0), neutral_weight=3.0)
    shown = [
        {**e, "neutral_ids": prompt or [], "reference": [reference] * len(e["chosen_ids"])}
        for e, prompt, reference in zip(examples, prompts, references, strict=False)
    ]
    loss, found = packed(trainer, shown, packing)
    trainer.model.zero_grad()
    expected = step_loss(trainer.model, examples, 2.0, scope, dict.fromkeys(TASKS, 1.0))
    for e in shown:
        if not e["neutral_ids"]:
            continue
        ((_, answer),) = padded_logps(trainer.model, [(e["neutral_ids"], e["chosen_ids"])])
        apart = answer - torch.tensor(e["reference"], dtype=torch.float64)
        cost = torch.where(apart.abs() < 1, apart**2 / 2, apart.abs() - 0.5)
        cost = torch.cat([cost[:-1], -answer[-1:]])
        expected = expected + 3.0 * cost.mean() / len(examples)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, gradients(trainer.model), atol=1e-9, rtol=1e-9)


EIGHT = [
    {
        "task": TASKS[i % 2],
        "prompt_ids": [i, 2, 3],
        "chosen_ids": [4] * (i + 1),
        "rejected_ids": [5, i],
    }
    for i in range(1, 9)
]


@pytest.mark.parametrize("scope", ["answer", "full"])
def test_eight_pairs_give_one_update_however_they_are_packed(trainer: Any, scope: Any) -> None:
    """1 x 8, 2 x 4 and 8 x 1: sums are divided by what the whole step holds."""
    change(trainer, nll_scope=scope, beta=1.0, weights=of_tasks(1.0, 1.0))
    found = {}
    for budget in (1000, 100, 1):
        packing = Packing(budget, 0, text=True, shared=False)
        found[len(packing.packs(EIGHT))] = packed(trainer, EIGHT, packing)[1]
    assert len(found) == 3
    assert {1, 8} <= set(found)
    for gradient in found.values():
        torch.testing.assert_close(gradient, found[1], atol=1e-12, rtol=1e-9)
