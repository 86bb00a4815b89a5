"""The fields of a training run, checked once at the door. Reads no file; knows no preset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from wm_publish.markup import is_hub_id

EXAMPLES_A_ROW = 6  # two watermark and four detect examples: the definition of the tasks

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes


class Section(BaseModel):
    """A group of fields. An unknown field is an error, never ignored."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


class LoraConfig(Section):
    """A low-rank adapter, by default on all linear layers but the head."""

    targets: list[str] = Field(
        default=["all-linear"],
        min_length=1,
        description="layers that get it, by the end of their names, such as q_proj,v_proj; "
        "all-linear is every linear layer but the head, which all-linear,lm_head has too; "
        "embed_tokens are the input embeddings",
    )
    r: int = Field(default=16, gt=0, description="rank")
    alpha: int = Field(default=32, gt=0, description="scale: the update is multiplied by alpha / r")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on the adapter's input")

    @field_validator("targets", mode="before")
    @classmethod
    def _names_in_one_word(cls, value: Any) -> Any:
        words = [value] if isinstance(value, str) else value
        return [name.strip() for word in words for name in str(word).split(",")]


class ModelConfig(Section):
    """What is trained."""

    base: str = Field(description="hub id or folder of a causal LM, or 'demo' (built here)")
    revision: str | None = Field(default=None, description="commit, tag or branch of a hub id")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the forward and backward pass"
    )
    gradient_checkpointing: bool = Field(default=False, description="recompute to save memory")
    four_bit: bool = Field(default=False, description="QLoRA: a frozen NF4 base under the adapter")
    attention: Literal["sdpa", "eager", "flex_attention"] = Field(
        default="sdpa", description="flex_attention skips what a tree's mask hides (CUDA only)"
    )
    sharded: bool = Field(
        default=False,
        description="each process keeps a part of weights, gradients and optimizer (FSDP2); all "
        "weights are trained, and a launcher starts the processes",
    )
    lora: LoraConfig | None = Field(default=None, description="train an adapter, not the weights")

    @model_validator(mode="after")
    def _all_weights_in_parts(self) -> ModelConfig:
        if self.sharded and self.lora is not None:
            raise ValueError(
                "sharded divides weights that are trained, and an adapter's base is frozen and "
                "fits a device: leave model.lora out, or set sharded to false"
            )
        return self

    @model_validator(mode="after")
    def _four_bits_under_an_adapter(self) -> ModelConfig:
        if self.four_bit and self.lora is None:
            raise ValueError("four_bit freezes the base: give model.lora as well, or switch it off")
        return self


class DataConfig(Section):
    """What it is trained on."""

    recipe: str | None = Field(default=None, description="wm-data recipe to build: name or file")
    path: Path | None = Field(default=None, description="a dataset folder that is there already")
    seed: int = Field(default=0, description="of the build")
    limit: int | None = Field(default=None, gt=0, description="build at most so many rows")
    on_bad_row: Literal["error", "skip"] = Field(
        default="error", description="of an empty or unreadable row of a source; skip: counted"
    )
    max_tokens: int = Field(default=1024, gt=8, description="longest prompt + answer; longer: out")

    @model_validator(mode="after")
    def _one_origin(self) -> DataConfig:
        if (self.recipe is None) == (self.path is None):
            raise ValueError("give exactly one of data.recipe and data.path")
        if self.path is not None and (self.limit is not None or self.seed):
            raise ValueError("data.limit and data.seed are for building from data.recipe alone")
        return self


class TaskWeights(Section):
    """What a pair of each task counts; its gradient is multiplied by it."""

    watermark: float = Field(default=1.0, ge=0)
    detect: float = Field(default=1.0, ge=0)


class TaskSharpness(Section):
    """How soon the odds ratio has done with a pair; 1: as the paper; see wm_train.loss."""

    watermark: float = Field(default=1.0, gt=0, description="larger: a decided pair is let go")
    detect: float = Field(default=1.0, gt=0)


class NeutralConfig(Section):
    """What holds the model to its base where it is asked for neither colour; docs/adr/0028."""

    weight: float = Field(
        default=0.0, ge=0, description="of a text under a neutral prompt, in watermark pairs"
    )
    share: float = Field(
        default=1.0, gt=0, le=1, description="of the rows that show a text under such a prompt"
    )

    def rows(self) -> float:
        """The share of rows that show one, which is none where it would count nothing."""
        return self.share if self.weight else 0.0


class LossConfig(Section):
    """ORPO's two terms, and one for neutral prompts; see wm_train.loss."""

    beta: float = Field(default=1.0, ge=0, description="weight of the odds-ratio term (λ in ORPO)")
    nll_scope: Literal["answer", "full"] = Field(
        default="answer", description="likelihood of the answer alone, or as TRL with the prompt"
    )
    contrast: Literal["answers", "prompts"] = Field(
        default="answers",
        description="an answer's odds against the other answer's, or against its own under the "
        "other colour's prompt",
    )
    weights: TaskWeights = TaskWeights()
    sharpness: TaskSharpness = TaskSharpness()
    neutral: NeutralConfig = NeutralConfig()


class OptimConfig(Section):
    """How it is trained."""

    learning_rate: float = Field(gt=0)
    steps: int | None = Field(default=None, gt=0, description="optimizer steps; wins over epochs")
    epochs: float = Field(default=1.0, gt=0, description="passes over the rows")
    batch_size: int = Field(default=12, gt=0, description="pairs a step, over all devices")
    pack_tokens: int = Field(
        default=4096, gt=0, description="tokens a forward pass on one device; a step takes several"
    )
    share_prefixes: bool = Field(default=True, description="compute a prompt once for its answers")
    twins: bool = Field(default=True, description="all six examples of a row in one step")
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps; schedule constant has none"
    )
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _whole_rows(self) -> OptimConfig:
        if self.twins and self.batch_size % EXAMPLES_A_ROW:
            low = self.batch_size - self.batch_size % EXAMPLES_A_ROW
            near = " or ".join(str(n) for n in (low, low + EXAMPLES_A_ROW) if n)
            raise ValueError(
                f"batch_size {self.batch_size} cannot hold whole rows of {EXAMPLES_A_ROW} "
                f"examples; take {near}, or set twins to false"
            )
        return self


class EvalConfig(Section):
    """When it is evaluated, on how much, and how answers are sampled."""

    every: int = Field(default=100, gt=0, description="optimizer steps between evaluations")
    limit: int | None = Field(default=100, gt=0, description="test rows of a periodic evaluation")
    full_limit: int | None = Field(
        default=None, gt=0, description="test rows at step 0 and at the end; none: all"
    )
    batch_size: int = Field(default=64, gt=0)
    max_new_tokens: int | None = Field(
        default=None,
        gt=0,
        description="none: half as many again as the longest gold answer, at most data.max_tokens",
    )
    temperature: float = Field(default=0.7, ge=0, description="0: greedy")
    top_p: float = Field(default=0.8, gt=0, le=1)
    top_k: int = Field(default=20, ge=0)
    detect: Literal["sampled", "greedy"] = Field(
        default="sampled",
        description="questions about texts: answered as the others, or by the most likely word",
    )
    seed: int = 0


class CheckpointConfig(Section):
    """How often the whole state is saved, and how many states stay on the disk."""

    every: int = Field(default=100, gt=0, description="optimizer steps")
    keep: int = Field(default=2, gt=0, description="so many of the newest, and the best")
    max_bytes: ByteSize | None = Field(
        default=None, description="of all on the disk, with the one being written: 20GB, 500MiB"
    )

    @model_validator(mode="after")
    def _some_bytes(self) -> CheckpointConfig:
        if self.max_bytes is not None and self.max_bytes <= 0:
            raise ValueError("max_bytes is a size, such as 20GB; leave it out for no limit")
        return self


class EarlyStopConfig(Section):
    """Which checkpoint is the best, and when more training is not worth its while."""

    metric: str | None = Field(
        default=None, description="figure of an evaluation, as detect/accuracy; none: no best"
    )
    mode: Literal["max", "min"] = Field(default="max", description="which end of it is good")
    patience: int | None = Field(
        default=None, gt=0, description="evaluations without a sure improvement; none: never stop"
    )
    max_loss: float | None = Field(
        default=None,
        gt=0,
        description="above it training has diverged; none: ten times the first, at least 10",
    )

    @model_validator(mode="after")
    def _of_something(self) -> EarlyStopConfig:
        if self.patience is not None and self.metric is None:
            raise ValueError("patience waits for early_stop.metric: give one, as detect/accuracy")
        return self


class TrackingConfig(Section):
    """Weights & Biases. Without an API key a run is logged offline."""

    project: str = "wm"
    entity: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"


class PublishConfig(Section):
    """Upload when the run has finished, as `wm-publish` does. Without the section: none."""

    at_end: bool = Field(default=True, description="false: not this time")
    repo_id: str | None = Field(
        default=None, description="user/name; none: your name and the run's"
    )
    private: bool = Field(default=True, description="false: for everybody to see")
    merge: bool = Field(default=False, description="the adapter's merged model too, as NAME-merged")

    @field_validator("repo_id")
    @classmethod
    def _a_repository(cls, name: str | None) -> str | None:
        # Here and not at the end of the run, when nobody is there to give another.
        if name is not None and not (is_hub_id(name) and "/" in name):
            raise ValueError("no name of a repository; expected the form user/name")
        return name


class TrainConfig(Section):
    """Everything that decides a run but its name and its place."""

    seed: Seed = Field(
        default=0, description="of weights built here, adapters, data order, dropout"
    )
    log_every: int = Field(default=10, gt=0, description="optimizer steps a line of log.jsonl")
    model: ModelConfig
    data: DataConfig
    loss: LossConfig = LossConfig()
    optim: OptimConfig
    evaluation: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    early_stop: EarlyStopConfig = EarlyStopConfig()
    tracking: TrackingConfig = TrackingConfig()
    publish: PublishConfig | None = Field(default=None, description="none: nothing is uploaded")

    @model_validator(mode="after")
    def _twins_to_compare(self) -> TrainConfig:
        if self.loss.contrast == "prompts" and not self.optim.twins:
            raise ValueError(
                "loss.contrast prompts compares a row's two watermark pairs, which optim.twins "
                "keeps in one step: set it to true, or the contrast to answers"
            )
        return self

    @model_validator(mode="after")
    def _something_to_merge(self) -> TrainConfig:
        if self.publish is not None and self.publish.merge and self.model.lora is None:
            raise ValueError("publish.merge merges an adapter: give model.lora, or leave it out")
        return self


def first_fault(error: ValidationError) -> str:
    """The first field at fault and what is wrong with it, of a record that nobody is to edit."""
    found = error.errors()[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
