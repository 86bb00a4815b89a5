"""Our trainer against TRL's own, on a small real model."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

import wm_data
from wm_train import base
from wm_train.config import LoraConfig
from wm_train.examples import tokenize
from wm_train.trainer import WatermarkOrpoTrainer


@pytest.fixture(scope="module")
def parts(base_dir: Path, dataset_dir: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    pairs = tokenize(wm_data.read(dataset_dir).examples("train"), tokenizer, 512)
    return base_dir, tokenizer, pairs.data


def make(parts: Any, out: Path, scope: Any = "answer", lora: Any = None, **args: Any) -> Any:
    base_dir, tokenizer, data = parts
    twins = args.pop("twins", True)
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 6,
        "beta": 1.0,
        "learning_rate": 1e-3,
        "max_steps": 1,
        "seed": 0,
        "data_seed": 0,
    }
    return WatermarkOrpoTrainer(
        model=AutoModelForCausalLM.from_pretrained(base_dir),
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
        peft_config=lora,
        nll_scope=scope,
        twins=twins,
    )


def first_batch(trainer: Any) -> dict[str, Any]:
    return next(iter(trainer.get_train_dataloader()))


def test_full_scope_is_trls_loss(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, scope="full")
    batch = first_batch(trainer)
    ours, _ = trainer.get_batch_loss_metrics(trainer.model, batch)
    theirs, _ = ORPOTrainer.get_batch_loss_metrics(trainer, trainer.model, batch)
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
    batch = first_batch(trainer)
    loss, _ = trainer.get_batch_loss_metrics(trainer.model, batch)
    by_hand = []
    for i in range(6):
        means = []
        for side in ("chosen", "rejected"):
            seen = batch[f"{side}_attention_mask"][i] == 1
            ids, labels = (batch[f"{side}_{k}"][i][seen] for k in ("input_ids", "labels"))
            logps = torch.log_softmax(trainer.model(ids[None]).logits[0, :-1], -1)
            picked = logps.gather(1, ids[1:, None]).squeeze(1)[labels[1:] != -100]
            means.append(picked.mean().double())
        (w, r) = means
        ratio = (w - torch.log(-torch.expm1(w))) - (r - torch.log(-torch.expm1(r)))
        by_hand.append(-w - torch.nn.functional.logsigmoid(ratio))
    assert loss.item() == pytest.approx(torch.stack(by_hand).mean().item(), abs=1e-5)


def test_a_batch_is_whole_rows(parts: Any, tmp_path: Path) -> None:
    batch = first_batch(make(parts, tmp_path))
    assert len(set(batch["row_id"])) == 1
    assert sorted(batch["task"]) == ["detect"] * 4 + ["watermark"] * 2


def test_metrics_are_kept_for_each_task(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path)
    _, metrics = trainer.get_batch_loss_metrics(trainer.model, first_batch(trainer))
    assert {name.partition("/")[0] for name in metrics} == {"watermark", "detect"}
    assert 0 <= metrics["watermark/preference_accuracy"] <= 1


@pytest.mark.parametrize("shape", [(6, 2), (1, 12), (4, 3)])
def test_accumulation_does_not_change_the_update(
    parts: Any, tmp_path: Path, shape: tuple[int, int]
) -> None:
    def weights(batch: int, accumulation: int) -> torch.Tensor:
        trainer = make(
            parts,
            tmp_path,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            twins=False,
            optim="sgd",  # Adam's first step is the gradient's sign: it would amplify rounding
        )
        trainer.train()
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    torch.testing.assert_close(weights(*shape), weights(12, 1), atol=1e-6, rtol=0)


def test_lora_dropout_stays_alive(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, lora=base.lora(LoraConfig(r=2, alpha=4, dropout=0.5)))
    rates = {
        module.p
        for name, module in trainer.model.named_modules()
        if "lora_dropout" in name and isinstance(module, torch.nn.Dropout)
    }
    assert rates == {0.5}


def test_lora_leaves_the_tied_head_alone(parts: Any, tmp_path: Path) -> None:
    trainer = make(parts, tmp_path, lora=base.lora(LoraConfig(r=2, alpha=4)))
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
