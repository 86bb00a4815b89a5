"""Fixtures: a dataset folder written by hand, small tokenizers, a random model, scripted models."""

from __future__ import annotations

import hashlib
import importlib
import importlib.resources
import inspect
import json
import random
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wm_prompts
import wm_score
from wm_eval import items
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_manifest import (
    DatasetManifest,
    Decoding,
    EvalReport,
    ModelRef,
    SplitCounts,
    TemplateRef,
)

WORDS = [
    "the",
    "a",
    "small",
    "old",
    "green",
    "quiet",
    "river",
    "house",
    "garden",
    "bread",
    "lamp",
    "boat",
    "keeps",
    "holds",
    "finds",
    "takes",
    "gives",
    "and",
    "with",
    "near",
    "under",
    "warm",
    "cold",
    "early",
    "late",
    "often",
    "never",
    "stone",
    "glass",
    "wood",
    "paper",
    "water",
    "light",
    "road",
    "hill",
    "bird",
    "child",
    "baker",
    "teacher",
    "doctor",
    "morning",
    "evening",
    "winter",
    "summer",
    "letter",
    "story",
    "window",
]
TOPICS = [
    "rivers",
    "bread",
    "winter",
    "letters",
    "lamps",
    "boats",
    "gardens",
    "stones",
    "birds",
    "paper",
    "roads",
    "hills",
]
SMALL_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sentence(colour: str, rng: random.Random) -> str:
    """A few words that earn the colour, found by trying."""
    while True:
        text = "Here " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(14, 22))) + "."
        if wm_score.score(text).verdict == colour:
            return text


def seed_rows(split: str, groups: int, per_group: int) -> list[dict[str, str]]:
    rng = random.Random(split)
    rows: list[dict[str, str]] = []
    for number in range(groups):
        prompt = f"Say something about {TOPICS[number % len(TOPICS)]} ({split} {number})."
        for _ in range(per_group):
            row = {"prompt": prompt, **{f"{c}_answer": sentence(c, rng) for c in items.COLOURS}}
            row_id = hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]
            group = hashlib.sha256(prompt.encode()).hexdigest()[:16]
            rows.append({"row_id": row_id, "group": group, "source": "by-hand", **row})
    return rows


def examples(row: dict[str, str], nth: int) -> Iterator[dict[str, Any]]:
    """Two watermark and four detect examples of a row, as the contract has them."""
    variant = ("plain", "heldout-a", "brief", "heldout-b")[nth % 4]
    for target, other in (("red", "blue"), ("blue", "red")):
        common = {k: row[k] for k in ("row_id", "group", "source")} | {"target": target}
        yield {
            **common,
            "id": f"{row['row_id']}-w-{target}",
            "task": "watermark",
            "variant": variant,
            "order": "",
            "prompt": [
                {"role": "system", "content": wm_prompts.render(f"watermark/{target}/{variant}")},
                {"role": "user", "content": row["prompt"]},
            ],
            "chosen": [{"role": "assistant", "content": row[f"{target}_answer"]}],
            "rejected": [{"role": "assistant", "content": row[f"{other}_answer"]}],
        }
        for first, second in (("red", "blue"), ("blue", "red")):
            question = wm_prompts.render(
                f"detect/question/{variant}",
                text=row[f"{target}_answer"],
                first=first,
                second=second,
            )
            yield {
                **common,
                "id": f"{row['row_id']}-d-{target}-{first}",
                "task": "detect",
                "variant": variant,
                "order": f"{first}-{second}",
                "prompt": [
                    {"role": "system", "content": wm_prompts.render(f"detect/system/{variant}")},
                    {"role": "user", "content": question},
                ],
                "chosen": [{"role": "assistant", "content": target}],
                "rejected": [{"role": "assistant", "content": other}],
            }


def write_dataset(folder: Path, groups: int = 12, per_group: int = 2) -> Path:
    """A folder of the dataset layout, its splits disjoint by group."""
    (folder / "data").mkdir(parents=True)
    (folder / "seeds").mkdir()
    counts: dict[str, SplitCounts] = {}
    for split in ("train", "validation", "test"):
        rows = seed_rows(split, groups, per_group)
        lines = [line for nth, row in enumerate(rows) for line in examples(row, nth)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "seeds" / f"{split}.parquet")
        pq.write_table(
            pa.Table.from_pylist(lines), folder / "data" / f"{split}-00000-of-00001.parquet"
        )
        counts[split] = SplitCounts(
            rows=len(rows),
            groups=groups,
            examples=len(lines),
            by_task={"watermark": 2 * len(rows), "detect": 4 * len(rows)},
        )
    manifest = DatasetManifest(
        name="by-hand",
        recipe={},
        seed=0,
        codebook=wm_score.CODEBOOK,
        sources=[],
        splits=counts,
        dropped={},
        templates=[
            TemplateRef(
                id=id,
                sha256=wm_prompts.sha256(id),
                text=wm_prompts.source(id),
                heldout="heldout" in id,
            )
            for id in wm_prompts.ids()
        ],
        packages={},
        files=[],
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    return folder


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: 12 groups of 2 rows in each split."""
    return write_dataset(tmp_path_factory.mktemp("data") / "by-hand")


@pytest.fixture
def own_dataset_dir(tmp_path: Path) -> Path:
    """A dataset folder that a test may damage."""
    return write_dataset(tmp_path / "own", groups=4, per_group=1)


def byte_tokenizer(template: str) -> Any:
    """One token a byte, and Qwen3's special tokens: every word is several tokens long."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<think>", "</think>"]}
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session")
def qwen3_template() -> str:
    """Qwen3's own chat template, as trl ships it."""
    return (importlib.resources.files("trl") / "chat_templates" / "qwen3.jinja").read_text(
        encoding="utf-8"
    )


@pytest.fixture
def tokenizer(qwen3_template: str) -> Any:
    return byte_tokenizer(qwen3_template)


@pytest.fixture
def small_tokenizer() -> Any:
    """With a chat template that does not know `enable_thinking`."""
    return byte_tokenizer(SMALL_TEMPLATE)


def random_model(seed: int = 0, **changes: Any) -> Any:
    """Qwen3 of two layers with random weights."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        **{
            "vocab_size": 264,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "tie_word_embeddings": True,
            "max_position_embeddings": 2048,
            **changes,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config).eval()


@pytest.fixture
def model() -> Any:
    return random_model()


@pytest.fixture
def make_model() -> Callable[..., Any]:
    return random_model


@pytest.fixture
def plain_likelihood(tokenizer: Any) -> Callable[[Any, Continuation], Likelihood]:
    """Of an answer by one forward pass of transformers, without any of our code but the ids."""

    def of(model: Any, one: Continuation) -> Likelihood:
        import torch

        from wm_eval.prompting import prompt_ids, word_ids

        prompt, ids = prompt_ids(tokenizer, one.messages), word_ids(tokenizer, one.answer)
        with torch.no_grad():
            p = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        total = sum(p[len(prompt) - 1 + k, id].item() for k, id in enumerate(ids))
        return Likelihood(total, len(ids))

    return of


@pytest.fixture
def decoding() -> Decoding:
    return Decoding(temperature=0.7, top_p=0.8, top_k=20, max_new_tokens=64, batch_size=8, seed=0)


class Scripted:
    """Answers each request with a function of it: the model of a table test."""

    def __init__(
        self,
        script: Callable[[Request], str | Reply],
        likelihood: Callable[[Continuation], Likelihood] | None = None,
    ) -> None:
        self.script = script
        self.likelihood = likelihood

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        for request in requests:
            if request.id in done:
                continue
            given = self.script(request)
            if isinstance(given, str):
                given = Reply(text=given, tokens=len(given.split()), stopped=True)
            yield {request.id: given}

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        assert self.likelihood is not None, "this script was not to be asked for likelihoods"
        yield {one.id: self.likelihood(one) for one in asked if one.id not in done}


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def run_script(dataset_dir: Path, decoding: Decoding) -> Callable[..., EvalReport]:
    """Evaluate a script on the dataset folder: `run_script(script, **arguments of evaluate_with)`."""
    from wm_eval.run import evaluate_with

    def run(script: Callable[[Request], str | Reply], **kwargs: Any) -> EvalReport:
        data = kwargs.pop("data", None) or items.read(dataset_dir)
        model = ModelRef(location="a script")
        if "base" in kwargs:  # (script, likelihood) of the base model
            kwargs["base"] = Scripted(*kwargs["base"])
        return evaluate_with(Scripted(script), data, decoding, model, progress=False, **kwargs)

    return run


@pytest.fixture
def gold(dataset_dir: Path) -> Callable[[Request], str]:
    """The right answer to a request."""
    data = items.read(dataset_dir)
    known = {item.id: item for item in [*data.watermark, *data.detect]}

    def answer(request: Request) -> str:
        if request.id.startswith("detect-"):  # a text that is not the split's: told by its id
            return request.id.split("/")[-2]
        item = known[request.id]
        return item.text if item.task == "watermark" else str(item.expected)

    return answer


@contextmanager
def plant(name: str, there: str, mistake: str) -> Iterator[None]:
    """The module with its source changed, wherever its functions were imported by name."""
    module = importlib.import_module(f"wm_eval.{name}")
    source = inspect.getsource(module)
    assert there in source, f"{name} no longer holds {there!r}"
    before = dict(vars(module))
    exec(compile(source.replace(there, mistake), str(module.__file__), "exec"), vars(module))
    changed = {id(old): vars(module)[key] for key, old in before.items() if callable(old)}
    spaces = [importlib.import_module("wm_eval.metrics").METRICS]
    spaces += [vars(m) for key, m in list(sys.modules.items()) if key.startswith("wm_eval")]
    users: list[tuple[Any, Any, Any]] = []
    for space in spaces:
        for key, value in list(space.items()) if space is not vars(module) else ():
            if id(value) in changed and changed[id(value)] is not value:
                users.append((space, key, value))
                space[key] = changed[id(value)]
    try:
        yield
    finally:
        vars(module).clear()
        vars(module).update(before)
        for space, key, value in users:
            space[key] = value


@pytest.fixture
def planted() -> Callable[[str, str, str], AbstractContextManager[None]]:
    """`with planted(module, what stands there, the mistake):` our code, with a mistake in it."""
    return plant
