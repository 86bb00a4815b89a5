"""Faults that are seeded are found before the first step, each by its check, and named."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import wm_data
from wm_train import base, engine, estimate, plan, preflight, presets, shapes
from wm_train.config import LoraConfig, TrainConfig
from wm_train.examples import tokenize
from wm_train.packing import Packing
from wm_train.plan import load_of


@pytest.fixture(scope="module")
def train(dataset_dir: Path) -> list[dict[str, Any]]:
    return list(wm_data.read(dataset_dir).examples("train"))


@pytest.fixture(scope="module")
def tokenizer(base_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture(scope="module")
def pairs(dataset_dir: Path, tokenizer: Any) -> list[dict[str, Any]]:
    return list(tokenize(wm_data.read(dataset_dir).examples("train"), tokenizer, 512).data)


def columns(examples: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [e[name] for e in examples] for name in ("task", "target")}


def test_a_sound_dataset_passes(train: Any, pairs: Any, tokenizer: Any) -> None:
    weights = {"watermark": 1.0, "detect": 1.0}
    found = [
        preflight.answers(Dataset.from_list(pairs)),
        preflight.too_long(Dataset.from_list(pairs), 512),
        preflight.twins(pairs, "prompts"),
        preflight.labels(columns(train), weights),
        preflight.overlap(["a", "b"], ["c"]),
        preflight.round_trip(train[:50], tokenizer),
    ]
    assert not [f.why for f in found if f.why]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"chosen_ids": [5]}, "empty: {id}"),
        ({"rejected_ids": [5]}, "empty: {id}"),
        ({"chosen_ids": [7, 5], "rejected_ids": [7, 5]}, "equal: {id}"),
    ],
)
def test_an_answer_without_a_label_is_named(
    pairs: list[dict[str, Any]], fault: dict[str, Any], expected: str
) -> None:
    faulty = Dataset.from_list([*pairs[:3], pairs[3] | fault, *pairs[4:]])
    assert expected.format(id=pairs[3]["id"]) in preflight.answers(faulty).why


def test_a_long_sequence_is_named(pairs: list[dict[str, Any]]) -> None:
    faulty = Dataset.from_list([*pairs, pairs[0] | {"id": "long", "prompt_ids": [1] * 600}])
    assert "above data.max_tokens = 512: long;" in preflight.too_long(faulty, 512).why


def test_a_written_answer_without_its_twin_is_named(pairs: list[dict[str, Any]]) -> None:
    written = [pair for pair in pairs if pair["task"] == "watermark"]
    assert not preflight.twins(pairs, "prompts").why
    lone = [pair for pair in pairs if pair["id"] != written[0]["id"]]
    why = preflight.twins(lone, "prompts").why
    assert f"the same answers for {written[1]['id']};" in why
    assert "set loss.contrast to answers" in why
    assert not preflight.twins(lone, "answers").why


def test_twins_are_told_apart_with_no_more_than_a_row_in_memory() -> None:
    def rows(number: int) -> Iterator[dict[str, Any]]:
        """Each with its two written pairs, one after the other, and a question between."""
        for i in range(number):
            red, blue = [i] * 200, [i + 1] * 200
            for j, (task, chosen, rejected) in enumerate(
                [("watermark", red, blue), ("detect", [1], [2]), ("watermark", blue, red)]
            ):
                answers = {"chosen_ids": chosen, "rejected_ids": rejected}
                yield {"id": f"{i}/{j}", "row_id": str(i), "task": task, **answers}

    peaks: list[int] = []
    for number in (150, 600):
        tracemalloc.start()
        assert not preflight.twins(rows(number), "prompts").why
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_pair_that_stands_twice_is_alone_once(pairs: list[dict[str, Any]]) -> None:
    """Wherever its twin stands: the rows of a table of one's own need not be in order."""
    one, other = [pair for pair in pairs if pair["task"] == "watermark"][:2]
    assert not preflight.twins([one, *pairs[40:50], other], "prompts").why.count(one["id"])
    twice = [one | {"id": "first"}, one | {"id": "second"}, other]
    assert "the same answers for first;" in preflight.twins(twice, "prompts").why


def test_many_faults_are_named_in_part_and_counted(pairs: list[dict[str, Any]]) -> None:
    faulty = Dataset.from_list([pair | {"chosen_ids": [5]} for pair in pairs[:9]])
    assert "and 4 more" in preflight.answers(faulty).why


@pytest.mark.parametrize("task", ["watermark", "detect"])
@pytest.mark.parametrize("lost", ["red", "blue", "both"])
def test_a_missing_label_is_told(train: list[dict[str, Any]], task: str, lost: str) -> None:
    kept = [
        e
        for e in train
        if e["task"] != task or e["target"] not in (lost, lost == "both" and e["target"])
    ]
    why = preflight.labels(columns(kept), {"watermark": 1.0, "detect": 1.0}).why
    assert f"{task} has" in why
    assert " 0 " in why
    other = {"watermark": 1.0, "detect": 1.0} | {task: 0.0}
    assert not preflight.labels(columns(kept), other).why


def test_a_group_on_both_sides_is_named() -> None:
    assert "in training and test: b;" in preflight.overlap(["a", "b"], ["b", "c"]).why


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content[:10] }}{% endfor %}",  # cuts
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{{ messages[-1].content }}",  # forgets the system message
    ],
)
def test_a_template_that_changes_text_is_found(train: Any, base_dir: Path, template: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.chat_template = template
    assert train[0]["id"] in preflight.round_trip(train[:5], tokenizer).why


def test_a_tokenizer_that_loses_letters_is_found(train: Any, base_dir: Path) -> None:
    from tokenizers import normalizers

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert train[0]["id"] in preflight.round_trip(train[:5], tokenizer).why


@pytest.mark.parametrize("text", ["5 \u2126", "Cafe\u0301", "5 \u212b", "\u0958", "\ufa10"])
def test_a_tokenizer_that_composes_characters_loses_none(
    text: str, train: Any, base_dir: Path
) -> None:
    """As Qwen's does: one ohm sign among the first rows is no reason to take another model."""
    from tokenizers import normalizers

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    question, answer = train[0]["prompt"], train[0]["chosen"]
    asked = [*question[:-1], question[-1] | {"content": f"What is {text}?"}]
    said = [answer[0] | {"content": f"It is {text}, or so."}]
    for changed in ({"prompt": asked}, {"chosen": said}):
        assert not preflight.round_trip([train[0] | changed], tokenizer).why


def test_a_head_that_is_not_what_the_config_says_is_found(base_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_dir)
    assert not preflight.head(model).why
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert "tie_word_embeddings is True" in preflight.head(model).why


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]])
def test_an_adapter_on_a_tied_head_leaves_it_tied(base_dir: Path, targets: list[str]) -> None:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(base_dir)
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets)
    adapted = get_peft_model(model, lora)
    assert not preflight.head(adapted).why
    head = adapted.get_output_embeddings()
    head.weight.data = head.weight.detach().clone()  # the same matrix still
    assert not preflight.head(adapted).why
    untied = torch.nn.Parameter(head.weight.detach().clone())
    getattr(head, "base_layer", head).weight = untied
    assert "tie_word_embeddings is True" in preflight.head(adapted).why


@pytest.mark.parametrize(("needed", "why"), [(1.0, ""), (3.0, "about 3.0 GiB needed, 2.0 free")])
def test_room_is_compared(needed: float, why: str) -> None:
    assert preflight.enough("disk", needed, 2.0, "checkpoint.keep").why.startswith(why)


@pytest.mark.parametrize(
    ("precision", "gpu", "own", "why"),
    [
        ("bfloat16", True, False, "T4 has no bfloat16; set model.precision to float32"),
        ("bfloat16", True, True, ""),
        ("float32", True, False, ""),
        ("bfloat16", False, False, ""),
    ],
)
def test_emulated_bfloat16_is_found(
    precision: str, gpu: bool, own: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card without it passes for one that has it where emulation counts, as it does by default."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda emulation=True: emulation or own)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "T4")
    assert preflight.arithmetic(precision).why == why


PACKING = Packing(budget=4096, pad_id=0)


def with_adapter(model: Any, examples: Dataset) -> Any:
    """What `room` asks of a trainer."""
    return SimpleNamespace(
        model=model,
        train_dataset=examples,
        packing=PACKING,
        is_fsdp_enabled=False,
        accelerator=SimpleNamespace(num_processes=1, device=torch.device("cpu")),
    )


@pytest.mark.parametrize(("share", "fits"), [(0.98, False), (1.02, True)])
def test_the_base_that_is_in_memory_is_not_counted_again(
    share: float,
    fits: bool,
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    pairs: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever its precision: in bfloat16 it holds half of what float32 would."""
    model: Any = AutoModelForCausalLM.from_pretrained(base_dir)
    config = tiny(model={"precision": "bfloat16", "lora": {"r": 2, "alpha": 4}})
    adapted = get_peft_model(model, base.lora(config.model.lora, model))
    examples = Dataset.from_list(pairs[: config.optim.batch_size])
    trainer = with_adapter(adapted, examples)
    shape, (load, _) = shapes.measured(adapted), load_of(PACKING, config.optim.batch_size, examples)
    parts = estimate.memory(config, shape, load, device="cpu")
    free = share * (estimate.peak(parts) - parts["weights"])
    monkeypatch.setattr(preflight, "free_memory_gib", lambda: free)
    found = {finding.check: finding.why for finding in preflight.room(config, tmp_path, trainer)}
    assert (found["memory"] == "") == fits


def test_the_memory_is_that_of_the_packing_that_training_has(
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    pairs: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not that of the configuration: sharing may have been refused, and takes twice the tokens."""
    config = tiny(model={"lora": {"r": 2, "alpha": 4}})
    model: Any = AutoModelForCausalLM.from_pretrained(base_dir)
    adapted = get_peft_model(model, base.lora(config.model.lora, model))
    trainer = with_adapter(adapted, Dataset.from_list(pairs[: config.optim.batch_size]))
    monkeypatch.setattr(preflight, "free_memory_gib", lambda: 0.0)
    needed: dict[str, list[float]] = {}
    monkeypatch.setattr(
        preflight, "enough", lambda what, gib, *_: needed.setdefault(what, []).append(gib)
    )
    for shared in (True, False):
        trainer.packing = replace(PACKING, budget=100_000, shared=shared)
        preflight.room(config, tmp_path, trainer)
    shared_gib, alone_gib = needed["memory"]
    assert alone_gib > 1.1 * shared_gib
    assert needed["memory of the host"] == [0, 0]  # of a model that is not in parts


def test_a_run_that_goes_on_needs_no_room_for_the_checkpoints_it_has(
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    pairs: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(checkpoint={"keep": 2}, model={"lora": {"r": 2, "alpha": 4}})
    model: Any = AutoModelForCausalLM.from_pretrained(base_dir)
    adapted = get_peft_model(model, base.lora(config.model.lora, model))
    trainer = with_adapter(adapted, Dataset.from_list(pairs[: config.optim.batch_size]))
    each = int(estimate.checkpoint_gib(shapes.measured(trainer.model)) * estimate.GIB)
    free = SimpleNamespace(free=int(1.5 * each))
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: free)

    def why() -> str:
        return {f.check: f.why for f in preflight.room(config, tmp_path, trainer)}["disk"]

    assert "lower checkpoint.keep or make room" in why()
    for step in (1, 2):
        folder = tmp_path / f"checkpoints/checkpoint-{step}"
        folder.mkdir(parents=True)
        with (folder / "weights").open("wb") as file:
            file.truncate(each)
    assert why() == "", "a third, while it is written, has room"


@pytest.mark.parametrize(
    ("schedule", "said"), [("constant", True), ("constant_with_warmup", False), ("cosine", False)]
)
def test_a_warmup_that_the_schedule_has_no_use_for_is_told(
    schedule: str,
    said: bool,
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_dir)
    config = tiny(optim={"schedule": schedule, "warmup": 0.1})
    assert engine._arguments(config, tmp_path, model)["warmup_steps"] == 0.1
    line = "optim.warmup 0.1 is not used: schedule constant has none"
    assert (line in [record.getMessage() for record in caplog.records]) == said


@pytest.mark.parametrize(
    ("lora", "own", "random"),
    [(None, 0.0, False), (0.0, 0.0, False), (0.1, 0.0, True), (0.0, 0.1, True), (None, 0.1, True)],
)
def test_random_states_are_kept_where_something_drops_out(
    lora: float | None, own: float, random: bool, tiny: Callable[..., TrainConfig], base_dir: Path
) -> None:
    config = tiny()
    adapter = None if lora is None else LoraConfig(dropout=lora)
    config = config.model_copy(update={"model": config.model.model_copy(update={"lora": adapter})})
    model = AutoModelForCausalLM.from_pretrained(base_dir, attention_dropout=own)
    assert engine.drops_out(config, model) == random


def test_memory_of_answers_is_that_of_a_sequence_and_not_of_a_packed_row() -> None:
    """Trees side by side make long rows; an answer is written after its own prompt alone."""
    fields = presets.load("qwen3-0.6b")
    sizes: list[float] = []
    for pack in (2048, 16384):
        fields["optim"]["pack_tokens"] = pack
        config = TrainConfig.model_validate(fields)
        made = plan.make(config)
        sizes.append(made.memory[estimate.EVALUATION])
        assert made.load.sequence < made.load.longest
    assert sizes[0] == sizes[1]
    fields["evaluation"]["batch_size"] = 4000
    parts = plan.make(TrainConfig.model_validate(fields)).memory
    assert estimate.largest_field(parts) == "evaluation.batch_size"
    assert estimate.largest_field(made.memory) == "optim.pack_tokens"


def test_every_fault_is_in_one_line(
    tiny: Callable[..., TrainConfig],
    base_dir: Path,
    dataset_dir: Path,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the engine's trainer, as a run has it: a full disk, a full memory and a bad row."""
    examples = wm_data.read(dataset_dir).examples("train")
    rows = list(tokenize(examples, tokenizer, 512).data)
    rows[7]["chosen_ids"] = rows[7]["chosen_ids"][-1:]
    monkeypatch.setattr(preflight, "free_memory_gib", lambda: 0.0)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: type("D", (), {"free": 1})())
    model = AutoModelForCausalLM.from_pretrained(base_dir)
    config, dataset = tiny(), wm_data.read(dataset_dir)
    trainer = engine.build(config, tmp_path, model, tokenizer, Dataset.from_list(rows), [])
    with pytest.raises(preflight.PreflightError) as found:
        preflight.run(config, tmp_path, trainer, dataset)
    text = str(found.value)
    assert "\n" not in text
    assert f"answers: empty: {rows[7]['id']}" in text
    assert "disk: about" in text
    assert "memory: about" in text
