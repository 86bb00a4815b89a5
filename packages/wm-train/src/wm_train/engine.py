"""Puts TRL's trainer together as the config says, and saves what it trained. Runs nothing."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_eval.kernels import without_cudnn_attention
from wm_train import base
from wm_train.config import EXAMPLES_A_ROW, TrainConfig
from wm_train.errors import ConfigError
from wm_train.redact import redact_files

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def build(
    config: TrainConfig,
    run_dir: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Any,
    callbacks: list[Any],
) -> Any:
    """A `WatermarkOrpoTrainer` for tokenised `pairs`; its checkpoints go to the run's folder."""
    without_cudnn_attention()
    from transformers.trainer_callback import PrinterCallback

    with warnings.catch_warnings():
        # TRL says that ORPO may go in any release: it is pinned exactly for that reason.
        warnings.filterwarnings("ignore", message="You are importing from 'trl.experimental'")
        # PEFT 0.21 asks a model for a property that transformers 5.23 has renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # So does PEFT's preparation of a base in four bits, and of a method.
        warnings.filterwarnings("ignore", message="`gradient_checkpointing_enable` is deprecated")
        # A LoRA on a head tied to the embeddings: wm-publish unties them before it merges.
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        from trl.experimental.orpo import ORPOConfig

        from wm_train.trainer import WatermarkOrpoTrainer

        args = ORPOConfig(**_arguments(config, run_dir, model))
        if args.n_gpu > 1:
            # Left alone, the trainer would split batches, and with them rows, over all of them.
            log.warning("%d GPUs are visible, one is used", args.n_gpu)
            args._n_gpu = 1  # pyright: ignore[reportPrivateUsage] the only way to say so
        trainer = WatermarkOrpoTrainer(
            model=model,
            args=args,
            train_dataset=pairs,
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=base.lora(config.model.lora, model) if config.model.lora else None,
            nll_scope=config.loss.nll_scope,
            twins=config.optim.twins,
            pack_tokens=config.optim.pack_tokens,
            share_prefixes=config.optim.share_prefixes,
            task_weights=config.loss.weights.model_dump(),
            contrast=config.loss.contrast,
            sharpness=config.loss.sharpness.model_dump(),
            neutral_weight=config.loss.neutral.weight,
        )
    trainer.remove_callback(PrinterCallback)  # the progress bar and log.jsonl say it better
    return trainer


def _arguments(config: TrainConfig, run_dir: Path, model: PreTrainedModel) -> dict[str, Any]:
    import torch

    o = config.optim
    if o.schedule == "constant" and o.warmup:
        log.warning("optim.warmup %s is not used: schedule constant has none", o.warmup)
    return dict(
        output_dir=str(run_dir / "checkpoints"),
        seed=config.seed,
        data_seed=config.seed,
        beta=config.loss.beta,
        max_length=config.data.max_tokens,
        disable_dropout=False,  # True would zero lora_dropout too; the models have no other
        learning_rate=o.learning_rate,
        max_steps=o.steps or -1,
        num_train_epochs=o.epochs,
        per_device_train_batch_size=_share(o.batch_size, o.twins),
        gradient_accumulation_steps=1,  # the trainer cuts a step into packs itself
        ddp_find_unused_parameters=False,
        lr_scheduler_type=o.schedule,
        warmup_steps=o.warmup,
        weight_decay=o.weight_decay,
        max_grad_norm=o.max_grad_norm,
        bf16=config.model.precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),  # bfloat16 is refused on CPU otherwise
        activation_checkpointing=config.model.gradient_checkpointing,
        # Random states are kept for dropout alone, and each layer reads and sets them on the host.
        activation_checkpointing_kwargs={
            "use_reentrant": False,
            "preserve_rng_state": drops_out(config, model),
        },
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,  # a NaN must be seen, not replaced by the last mean
        save_strategy="steps",
        save_steps=config.checkpoint.every,
        save_only_model=config.model.sharded,  # or Trainer refuses; see sharded.ShardedState
        dataloader_drop_last=True,  # a short last batch would weigh its rows more
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"non_blocking": torch.cuda.is_available()},  # what pinning is for
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )


def drops_out(config: TrainConfig, model: PreTrainedModel) -> bool:
    """Whether a forward pass in training mode is random: by the adapter, or by the base's own."""
    settings: dict[str, Any] = model.config.to_dict()
    own = (v for k, v in settings.items() if "drop" in k and isinstance(v, int | float))
    return bool(config.model.lora and config.model.lora.dropout) or any(own)


def _share(batch_size: int, twins: bool) -> int:
    """A device's part of the step, which is the same for any number of devices."""
    from accelerate import PartialState

    devices = cast(int, PartialState().num_processes)
    whole = EXAMPLES_A_ROW if twins else 1
    if batch_size % (devices * whole):
        near = max(1, round(batch_size / (devices * whole))) * devices * whole
        raise ConfigError(
            f"optim.batch_size {batch_size} cannot be shared by {devices} processes in whole "
            f"{f'rows of {whole} pairs' if twins else 'pairs'}; take {near}"
        )
    return batch_size // devices


def save(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write the trained weights, or the adapter alone, with the tokenizer into `folder`."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        # "auto" would ask the hub whether the base's vocabulary was resized.
        model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's; the card is the run's
    else:
        model.config.use_cache = True  # the trainer switched it off, and a model is for generating
        model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    redact_files(folder)  # the base's path stands in them
