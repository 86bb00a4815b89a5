"""Answers requests with a vLLM engine. Thin: batching, caching and sampling are vLLM's own.

Written against vLLM 0.33's source and not run on a GPU yet. vLLM pins torch and transformers to
other versions than the rest of wm, so it is no dependency: `pip install vllm` into an environment
of its own, beside wm-eval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wm_eval.adapters import adapter_config
from wm_eval.errors import WmEvalError
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_eval.loading import load_tokenizer
from wm_eval.prompting import end_of_turn, prompt_ids, word_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from wm_manifest import Decoding

CHUNK = 1024  # requests that the engine gets at once: lost at most when an evaluation is killed


class VLLMGenerator:
    """`Generator` over a `vllm.LLM`; `lora` is the `LoRARequest` of an adapter, None without one.

    `make_params` is `vllm.SamplingParams`.
    """

    def __init__(
        self, engine: Any, make_params: Any, tokenizer: PreTrainedTokenizerBase, lora: Any = None
    ) -> None:
        self.device = "vllm"  # for the report: which card is the engine's business
        self.engine, self.make_params, self.lora = engine, make_params, lora
        self.tokenizer = tokenizer
        # The engine adds the ends of the model's generation config.
        self.end = end_of_turn(tokenizer)

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        """Yield the replies of one chunk after another."""
        for start in range(0, len(requests), CHUNK):
            chunk = requests[start : start + CHUNK]
            if all(request.id in done for request in chunk):
                continue
            prompts = [prompt_ids(self.tokenizer, request.messages) for request in chunk]
            params = [self._sampling(request, decoding) for request in chunk]
            options = self._options(chunk, prompts)
            yield {
                request.id: self._reply(output.outputs[0], options.get(request.id, {}))
                for request, output in zip(chunk, self._generate(prompts, params), strict=True)
            }

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        """Yield the likelihoods of one chunk of answers after another."""
        for start in range(0, len(asked), CHUNK):
            chunk = asked[start : start + CHUNK]
            if all(one.id in done for one in chunk):
                continue
            rows = [
                (prompt_ids(self.tokenizer, one.messages), word_ids(self.tokenizer, one.answer))
                for one in chunk
            ]
            weighed = zip(chunk, rows, self._weigh(rows), strict=True)
            yield {one.id: Likelihood(total, len(row[1])) for one, row, total in weighed}

    def _sampling(self, request: Request, decoding: Decoding) -> Any:
        return self.make_params(
            temperature=0.0 if request.greedy else decoding.temperature,  # 0 is greedy here too
            top_p=decoding.top_p,
            top_k=decoding.top_k,  # 0 switches it off here too
            seed=request.seed,
            max_tokens=request.max_new_tokens,
            stop_token_ids=[self.end],
            detokenize=False,
        )

    def _reply(self, output: Any, options: dict[str, float]) -> Reply:
        stopped = output.finish_reason == "stop"
        ids = list(output.token_ids)
        ids = ids[:-1] if stopped else ids  # the id that ended it is the last one
        text = cast(str, self.tokenizer.decode(ids, skip_special_tokens=True))
        return Reply(text=text, tokens=len(ids), stopped=stopped, options=options)

    def _options(
        self, requests: Sequence[Request], prompts: list[list[int]]
    ) -> dict[str, dict[str, float]]:
        """Log-probability of each word that is asked for, by request and word."""
        asked = [
            (request.id, word, prompt)
            for request, prompt in zip(requests, prompts, strict=True)
            for word in request.options
        ]
        rows = [(prompt, word_ids(self.tokenizer, word)) for _, word, prompt in asked]
        found: dict[str, dict[str, float]] = {}
        for (id, word, _), total in zip(asked, self._weigh(rows), strict=True):
            found.setdefault(id, {})[word] = total
        return found

    def _weigh(self, rows: list[tuple[list[int], list[int]]]) -> list[float]:
        """Log-probability of each answer (rows, of ids) after its prompt."""
        if not rows:
            return []
        # One token must be generated, and is thrown away. Log-probabilities are of the raw logits.
        params = self.make_params(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False
        )
        whole = [prompt + answer for prompt, answer in rows]
        outputs = self._generate(whole, [params] * len(rows))
        return [
            sum(output.prompt_logprobs[at][ids[at]].logprob for at in range(len(prompt), len(ids)))
            for (prompt, _), ids, output in zip(rows, whole, outputs, strict=True)
        ]

    def _generate(self, prompts: list[list[int]], params: list[Any]) -> list[Any]:
        """Outputs in the order of the prompts (of ids)."""
        return self.engine.generate(
            [{"prompt_token_ids": ids} for ids in prompts],
            params,
            use_tqdm=False,
            lora_request=self.lora,
        )


def load_vllm(
    model: str,
    adapter: str | None = None,
    dtype: str = "auto",
    revision: str | None = None,
    adapter_revision: str | None = None,
) -> tuple[VLLMGenerator, VLLMGenerator | None, PreTrainedTokenizerBase]:
    """The model's generator, that of the model below its adapter if it has one, the tokenizer."""
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore
        from vllm.lora.request import LoRARequest  # pyright: ignore
    except ImportError as error:
        raise WmEvalError(
            f"--backend vllm needs vLLM, which cannot be imported ({error}); pip install vllm, in "
            "an environment apart from wm's (it needs other versions), or use --backend hf"
        ) from error

    tokenizer = load_tokenizer(model, revision)
    options: dict[str, Any] = {"model": model, "dtype": dtype}
    options |= {"revision": revision, "tokenizer_revision": revision}
    lora = None
    if adapter is not None:
        config = adapter_config(adapter, model, adapter_revision)
        check_layers(config, adapter)
        options |= {"enable_lora": True, "max_lora_rank": vllm_rank(int(config["r"]))}
        lora = cast(Any, LoRARequest)("adapter", 1, local_adapter(adapter, adapter_revision))
    engine: Any = cast(Any, LLM)(**options)
    with_adapter = VLLMGenerator(engine, SamplingParams, tokenizer, lora)
    return (
        with_adapter,
        VLLMGenerator(engine, SamplingParams, tokenizer) if lora else None,
        tokenizer,
    )


HEAD = "lm_head"


def check_layers(config: Mapping[str, Any], adapter: str) -> None:
    """Refuse an adapter on the head, whose log-probabilities of a prompt vLLM gets wrong.

    vLLM 0.33 maps rows of logits to adapters once a step, for the positions that it samples at. The
    logits of a prompt's positions are made under the same map: but for the first few rows without
    the adapter, and without a word of it.
    """
    targets = cast("str | list[str]", config.get("target_modules") or [])
    names = [targets] if isinstance(targets, str) else targets
    if any(name.endswith(HEAD) for name in names):
        raise WmEvalError(
            f"the adapter {adapter} is on {HEAD} too, and vLLM's log-probabilities of a prompt "
            "lack that part; merge it (wm-publish RUN --merge --dry-run writes RUN/merged) and "
            "give the merged folder as --model, or use --backend hf"
        )


RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes as max_lora_rank


def vllm_rank(rank: int) -> int:
    """The smallest of vLLM's ranks that holds an adapter's.

    >>> vllm_rank(16), vllm_rank(20)
    (16, 32)
    """
    fitting = [known for known in RANKS if known >= rank]
    if not fitting:
        raise WmEvalError(f"the adapter has rank {rank}; vLLM takes at most {RANKS[-1]}")
    return fitting[0]


def local_adapter(adapter: str, revision: str | None) -> str:
    """The adapter's folder, downloaded if it is a hub id."""
    if Path(adapter).is_dir():
        return adapter
    import huggingface_hub

    return cast(Any, huggingface_hub).snapshot_download(adapter, revision=revision)
