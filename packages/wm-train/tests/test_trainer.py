"""Our trainer against TRL's own, on a small real model."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.utils import DPODataCollatorWithPadding

import wm_data
from wm_train import base
from wm_train.config import LoraConfig
from wm_train.examples import tokenize
from wm_train.packing import TASKS
from wm_train.trainer import WatermarkOrpoTrainer


@pytest.fixture(scope="module")
def parts(base_dir: Path, dataset_dir: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    pairs = tokenize(wm_data.read(dataset_dir).examples("train"), tokenizer, 512)
    return base_dir, tokenizer, pairs.data


def make(parts: Any, out: Path, scope: Any = "answer", lora: Any = None, **args: Any) -> Any:
    base_dir, tokenizer, data = parts
    model = AutoModelForCausalLM.from_pretrained(base_dir)
    options = {"twins": True, "pack_tokens": 2048}
    options |= {name: args.pop(name) for name in ("twins", "pack_tokens") if name in args}
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 6,
        "beta": 1.0,
        "learning_rate": 1e-3,
        "max_steps": 1,
        "seed": 0,
        "data_seed": 0,
    }
    return WatermarkOrpoTrainer(
        model=model,
        args=ORPOConfig(
            output_dir=str(out),
            report_to="none",
            bf16=False,
            disable_dropout=False,
            activation_checkpointing=False,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            disable_tqdm=True,
            **{**defaults, **args},
        ),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=base.lora(lora, model) if lora else None,
        nll_scope=scope,
        **options,
    )


def test_the_rows_are_not_mapped_by_trl(parts: Any, tmp_path: Path) -> None:
    """It would write three copies of a table of gigabytes, and change nothing in it."""
    assert make(parts, tmp_path).train_dataset is parts[2]


def first_batch(trainer: Any) -> dict[str, Any]:
    return next(iter(trainer.get_train_dataloader()))


def first_examples(trainer: Any) -> list[dict[str, Any]]:
    """The examples of the first batch, in the sampler's order."""
    order = list(trainer._get_train_sampler())
    return [trainer.train_dataset[i] for i in order[: trainer.args.per_device_train_batch_size]]


def trls_batch(trainer: Any) -> dict[str, Any]:
    """The same examples as TRL's own collator would give them."""
    rows = []
    for e in first_examples(trainer):
        row: dict[str, Any] = {"prompt_input_ids": e["prompt_ids"]}
        for side in ("chosen", "rejected"):
            row[f"{side}_input_ids"] = e["prompt_ids"] + e[f"{side}_ids"]
            row[f"{side}_attention_mask"] = [1] * len(row[f"{side}_input_ids"])
            row[f"{side}_labels"] = [-100] * len(e["prompt_ids"]) + e[f"{side}_ids"]
        rows.append(row)
    return DPODataCollatorWithPadding(pad_token_id=trainer.padding_value)(rows)


def test_full_scope_is_trls_loss(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, scope="full")
    ours = trainer.compute_loss(trainer.model, first_batch(trainer))
    theirs, _ = ORPOTrainer.get_batch_loss_metrics(trainer, trainer.model, trls_batch(trainer))
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    ours.backward()
    gradient = trainer.model.model.embed_tokens.weight.grad.clone()
    trainer.model.zero_grad()
    theirs.backward()
    torch.testing.assert_close(
        gradient, trainer.model.model.embed_tokens.weight.grad, atol=1e-6, rtol=1e-4
    )


def test_answer_scope_is_the_answers_mean(parts: Any, tmp_path: Path) -> None:
    """Row by row, unpadded, with all logits: the slow way to the same number."""
    trainer = make(parts, tmp_path)
    loss = trainer.compute_loss(trainer.model, first_batch(trainer))
    by_hand = []
    for example in first_examples(trainer):
        means = []
        for side in ("chosen", "rejected"):
            answer = torch.tensor(example[f"{side}_ids"])
            ids = torch.cat([torch.tensor(example["prompt_ids"]), answer])
            logps = torch.log_softmax(trainer.model(ids[None]).logits[0, :-1], -1)
            means.append(logps[-len(answer) :].gather(1, answer[:, None]).mean().double())
        (w, r) = means
        ratio = (w - torch.log(-torch.expm1(w))) - (r - torch.log(-torch.expm1(r)))
        by_hand.append(-w - torch.nn.functional.logsigmoid(ratio))
    assert loss.item() == pytest.approx(torch.stack(by_hand).mean().item(), abs=1e-5)


def detect_weight(trainer: Any, prompt_tokens: int) -> float:
    """Share of the likelihood's gradient that falls on the answer of a detect example, which
    stands beside a watermark example in a step; its prompt has so many tokens."""
    ids = [trainer.processing_class.convert_tokens_to_ids(c) for c in "abcdefgh"]
    detect = {"task": "detect", "chosen_ids": ids[:2], "rejected_ids": ids[2:4]}
    write = {"task": "watermark", "chosen_ids": ids * 5, "rejected_ids": ids[::-1] * 5}
    examples = [
        {**detect, "prompt_ids": [ids[0]] * prompt_tokens},
        {**write, "prompt_ids": [ids[1]] * 100},
    ]
    packs = trainer.packing.packs(examples)
    made: list[tuple[Any, Any]] = []
    compute = trainer.edge_logps

    def kept(model: Any, pack: Any) -> Any:
        logps = compute(model, pack)
        logps.retain_grad()
        made.append((pack, logps))
        return logps

    trainer.edge_logps = kept
    trainer.compute_loss(trainer.model, {"packs": packs}).backward()
    on_detect = everywhere = 0.0
    for pack, logps in made:
        everywhere += logps.grad.abs().sum().item()
        chosen = pack.answer_sequences < pack.pairs
        tasks = pack.tasks[pack.answer_sequences % pack.pairs]
        edges = pack.answer_edges[chosen & (tasks == TASKS.index("detect"))]
        on_detect += logps.grad[edges].abs().sum().item()
    return on_detect / everywhere


@pytest.mark.parametrize(("scope", "drowns"), [("answer", False), ("full", True)])
def test_a_long_prompt_takes_no_weight_from_its_answer(
    parts: Any, tmp_path: Path, scope: str, drowns: bool
) -> None:
    short = detect_weight(make(parts, tmp_path, scope=scope, beta=0.0), 50)
    long = detect_weight(make(parts, tmp_path, scope=scope, beta=0.0), 500)
    if drowns:  # as in TRL: 2 of some 190 tokens, then 2 of some 640
        assert long < 0.4 * short
    else:
        assert long == pytest.approx(short, rel=0.01) == 0.5


def test_a_batch_is_whole_rows(parts: Any, tmp_path: Path) -> None:
    examples = first_examples(make(parts, tmp_path))
    assert len({e["row_id"] for e in examples}) == 1
    assert sorted(e["task"] for e in examples) == ["detect"] * 4 + ["watermark"] * 2


def test_metrics_are_pooled_for_each_task(parts: Any, tmp_path: Path) -> None:
    """One line for two steps says what one step of both batches would have."""

    def logged(**args: Any) -> dict[str, float]:
        trainer = make(parts, tmp_path, logging_steps=1, learning_rate=0.0, **args)
        trainer.train()
        return trainer.state.log_history[0]

    together = logged(per_device_train_batch_size=12)
    apart = logged(pack_tokens=1, per_device_train_batch_size=12)
    for task in ("watermark", "detect"):
        for part in ("nll", "odds_ratio_loss", "log_odds_ratio", "margin", "answer_tokens"):
            name = f"{task}/{part}"
            assert together[name] == pytest.approx(apart[name], abs=1e-4)
        assert 0 <= together[f"{task}/preference_accuracy"] <= 1
    assert together["detect/answer_tokens"] == 5  # " red" and "blue" in two, and two ends of turn
    assert together["tokens/computed"] < 0.7 * together["tokens/unshared"]


def test_lora_dropout_stays_alive(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, lora=LoraConfig(r=2, alpha=4, dropout=0.5))
    rates = {
        module.p
        for name, module in trainer.model.named_modules()
        if "lora_dropout" in name and isinstance(module, torch.nn.Dropout)
    }
    assert rates == {0.5}


def test_lora_leaves_the_tied_head_alone(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, lora=LoraConfig(r=2, alpha=4))
    trained = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert trained
    assert not [name for name in trained if "lm_head" in name or "embed_tokens" in name]


def test_checkpoints_bring_no_card(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, save_strategy="steps", save_steps=1)
    trainer.train()
    assert (tmp_path / "checkpoint-1").is_dir()
    assert not list(tmp_path.rglob("README.md"))


def test_nothing_is_sent(parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(
        "trl.trainer.base_trainer.send_telemetry", lambda **kwargs: sent.append(kwargs)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(parts, tmp_path)
        assert not sent
        monkeypatch.delattr(WatermarkOrpoTrainer, "_send_telemetry")
        make(parts, tmp_path)
    assert sent, "TRL sends nothing any more: our override can go"
