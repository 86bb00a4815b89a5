"""Answers requests with a vLLM engine. Thin: batching, caching and sampling are vLLM's own.

Written against vLLM 0.33's source, run with 0.32 on a processor and on no GPU yet. vLLM pins torch
and transformers to other versions than the rest of wm, so it is no dependency: `pip install
"vllm==0.33.*"` into an environment of its own, beside wm-eval. What starts it is `vllm_loading`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from wm_eval.errors import WmEvalError, short
from wm_eval.generator import Continuation, Likelihood, Reply, Request
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
        self.dtype = engine.model_config.dtype  # what it took, whatever it was asked for
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
        room = self.engine.model_config.max_model_len
        needed = max(len(ids) + p.max_tokens for ids, p in zip(prompts, params, strict=True))
        if needed > room:  # it would cut the answer there, and say that it was long
            raise WmEvalError(
                f"a prompt and its answer take {needed:,} tokens, and vLLM has room for {room:,}, "
                "by the model's context or the GPU's memory; give a smaller --max-new-tokens"
            )
        try:
            return self.engine.generate(
                [{"prompt_token_ids": ids} for ids in prompts],
                params,
                use_tqdm=False,
                lora_request=self.lora,
            )
        # vLLM's errors have no base, and some are of what it is built on.
        except Exception as error:
            raise WmEvalError(f"vLLM stopped: {short(error)}; its log says more") from error
