"""Samples answers from a causal language model with a lean to even or odd tokens. Judges none.

Imports torch: import this module only where answers are wanted.
"""

# transformers' own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from wm_data.decoding import Decoding, Request, Sampled
from wm_data.rows import digest


class Biased(LogitsProcessor):
    """Draws each row's token by the Gumbel-max trick with the row's own random numbers.

    So a row does not depend on which others share its batch, and greedy decoding picks the draw.
    """

    def __init__(self, requests: Sequence[Request], parity: torch.Tensor, how: Decoding) -> None:
        device = parity.device
        signs = torch.tensor([[request.sign] for request in requests], device=device)
        self.lean = how.bias * signs * parity  # (rows, vocab)
        self.how = how
        self.dice = [torch.Generator().manual_seed(_seed(request.seed)) for request in requests]
        self.logprobs: list[torch.Tensor] = []  # (rows,) a step

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float()  # (rows, vocab)
        count = min(self.how.top_k, scores.shape[-1])
        top, ids = ((scores + self.lean) / self.how.temperature).topk(count)  # (rows, count)
        tail = top.softmax(-1).cumsum(-1) - top.softmax(-1) >= self.how.top_p
        uniform = torch.stack([torch.rand(count, generator=dice) for dice in self.dice])
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        drawn = (top + gumbel.to(top)).masked_fill(tail, -torch.inf)
        chosen = ids.gather(1, drawn.argmax(-1, keepdim=True))  # (rows, 1)
        self.logprobs.append(scores.log_softmax(-1).gather(1, chosen).squeeze(1))
        return torch.full_like(scores, -torch.inf).scatter(1, ids, drawn)


class Sampler:
    """A model with its tokenizer, ready to answer batches."""

    def __init__(
        self, model: Any, tokenizer: Any, parities: Sequence[float], how: Decoding
    ) -> None:
        self.model, self.tokenizer, self.how = model.eval(), tokenizer, how
        # A model's head may have more rows than its tokenizer has tokens.
        self.parity = torch.zeros(model.config.get_text_config().vocab_size, device=model.device)
        self.parity[: len(parities)] = torch.tensor(parities)

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request]) -> list[Sampled]:
        """One answer a request, in one batch padded at the left."""
        self.tokenizer.padding_side = "left"
        texts = [request.prompt for request in requests]
        inputs = self.tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=False
        ).to(self.model.device)
        biased = Biased(requests, self.parity, self.how)
        out = self.model.generate(
            **inputs,
            max_new_tokens=self.how.max_tokens,
            do_sample=False,
            use_cache=True,
            repetition_penalty=1.0,
            logits_processor=LogitsProcessorList([biased]),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        new = out[:, inputs["input_ids"].shape[1] :].tolist()
        logprobs = torch.stack(biased.logprobs, 1).tolist()
        return [self._sampled(*pair) for pair in zip(new, logprobs, strict=True)]

    def _sampled(self, ids: list[int], logprobs: list[float]) -> Sampled:
        ends = _end_tokens(self.model)
        length = next((at for at, id in enumerate(ids) if id in ends), len(ids))
        parts = [ids[: at + 1] for at in range(length)]
        texts = self.tokenizer.batch_decode(parts, clean_up_tokenization_spaces=False)
        return Sampled(
            texts[-1] if texts else "", length < len(ids), [*map(len, texts)], logprobs[:length]
        )


def _end_tokens(model: Any) -> set[int]:
    found = model.generation_config.eos_token_id
    return {found} if isinstance(found, int) else set(found or ())


def _seed(text: str) -> int:
    return int(digest(text)[:15], 16)
