"""Answers requests with a loaded Hugging Face causal model. Judges nothing and loads nothing.

Rows are padded on the left, sorted by length, and share one key-value cache a batch. The beginning
that a family of prompts has in common (the text of a detect item) is computed once. Neither the
model nor the tokenizer nor any global random state is changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache

from wm_eval.batching import batches, split_families
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_eval.prompting import end_of_turn, prompt_ids, word_ids
from wm_eval.sampling import NO_TOKEN, draw, uniforms

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from wm_manifest import Decoding


# Logits of answers at once: 1 GiB in float32. With 151,936 ids that is 1,766 positions.
HEAD_ELEMENTS = 1 << 28


@dataclass
class _State:
    """A batch after its prompts: what the next token of every row depends on."""

    cache: DynamicCache
    logits: Tensor  # (rows, vocab), of the next token
    mask: Tensor  # (rows, cached), 1 where a real token stands
    length: Tensor  # (rows,), real tokens so far: the next position id


class HFGenerator:
    """`Generator` over a model in memory. `batch_size` counts rows that are decoded together.

    `adapter_off` answers with the weights below a PEFT model's adapter.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        adapter_off: bool = False,
    ) -> None:
        self.model: Any = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.adapter_off = adapter_off
        self.stops = stop_ids(model, tokenizer)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # pyright: ignore
        known = inspect.signature(cast(Any, inner).forward).parameters
        # Without it a long prompt's logits alone are gigabytes at Qwen3's 151,936 ids.
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        """Yield the replies of one batch after another. Batches do not depend on what is asked
        before or after: the same requests give the same batches."""
        ids = {request.id: prompt_ids(self.tokenizer, request.messages) for request in requests}
        for batch in batches(
            requests, {key: len(value) for key, value in ids.items()}, self.batch_size
        ):
            if all(request.id in done for family in batch for request in family):
                continue
            asked = [[(r, ids[r.id]) for r in family] for family in batch]
            with torch.no_grad(), self._weights():
                replies = self._answer(asked, decoding)
            yield replies  # outside: whoever reads them has the adapter on

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        """Yield the likelihood of each answer, longest rows first, in fixed batches."""
        rows = [
            (one, prompt_ids(self.tokenizer, one.messages), word_ids(self.tokenizer, one.answer))
            for one in asked
        ]
        rows.sort(key=lambda row: (-len(row[2]), -len(row[1]), row[0].id))
        start = 0
        while start < len(rows):
            longest = max(1, len(rows[start][2]))
            # The head's output for all answer positions must fit: see HEAD_ELEMENTS.
            fit = HEAD_ELEMENTS // (longest * self.model.config.vocab_size)
            batch = rows[start : start + max(1, min(self.batch_size, fit))]
            start += len(batch)
            if all(one.id in done for one, _, _ in batch):
                continue
            with torch.no_grad(), self._weights():
                found = self._weigh([(prompt, answer) for _, prompt, answer in batch])
            yield {one.id: value for (one, _, _), value in zip(batch, found, strict=True)}

    def _weigh(self, rows: list[tuple[list[int], list[int]]]) -> list[Likelihood]:
        """Log-probability of each answer (rows, of ids) after its prompt, in one forward pass."""
        longest = max(len(answer) for _, answer in rows)
        if longest == 0:
            return [Likelihood(0.0, 0) for _ in rows]
        ids, mask = self._pad([prompt + answer for prompt, answer in rows])
        keep = {"logits_to_keep": longest + 1} if self.last_only else {}
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            **keep,
        )
        # (rows, longest, vocab): what precedes each of the last `longest` ids.
        p = cast(Tensor, out.logits)[:, -longest - 1 : -1].float().log_softmax(-1)
        own = p.gather(-1, ids[:, -longest:, None]).squeeze(-1).double()
        return [
            Likelihood(float(own[at, longest - len(answer) :].sum()), len(answer))
            for at, (_, answer) in enumerate(rows)
        ]

    @contextmanager
    def _weights(self) -> Generator[None]:
        """The weights to answer with. PEFT turns gradients on when it puts an adapter back."""
        if not self.adapter_off:
            yield
            return
        wanted = [(p, p.requires_grad) for p in self.model.parameters()]
        with self.model.disable_adapter():
            yield
        for parameter, gradient in wanted:
            parameter.requires_grad_(gradient)

    def _answer(
        self, families: list[list[tuple[Request, list[int]]]], decoding: Decoding
    ) -> dict[str, Reply]:
        rows = [request for family in families for request, _ in family]
        state = self._prefill([[ids for _, ids in family] for family in families])
        options = self._options(state, rows[0].options)
        limit = rows[0].max_new_tokens
        u = uniforms([row.seed for row in rows], limit).to(state.logits.device)
        sampled = self._decode(state, u, limit, decoding)
        return {
            row.id: Reply(
                text=cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)),
                tokens=len(ids),
                stopped=stopped,
                options=given,
            )
            for row, (ids, stopped), given in zip(rows, sampled, options, strict=True)
        }

    def _prefill(self, families: list[list[list[int]]]) -> _State:
        """Run the prompts; a common beginning runs once for its family, then is repeated."""
        size = len(families[0])
        heads, tails = split_families(families)
        ids, mask = self._pad(heads)
        cache = DynamicCache(config=self.model.config)
        position = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, position, cache)[:, -1]
        length = mask.sum(-1)
        if size == 1:
            return _State(cache, logits, mask, length)
        cache.batch_repeat_interleave(size)
        mask, length = mask.repeat_interleave(size, 0), length.repeat_interleave(size, 0)
        ids, tail = self._pad(tails)
        position = (length[:, None] + tail.cumsum(-1) - 1).clamp(min=0)
        mask = torch.cat([mask, tail], dim=1)
        logits = self._forward(ids, mask, position, cache)[:, -1]
        return _State(cache, logits, mask, length + tail.sum(-1))

    def _options(self, state: _State, words: tuple[str, ...]) -> list[dict[str, float]]:
        """Log-probability of each word as the beginning of the answer, for each row."""
        found: list[dict[str, float]] = [{} for _ in range(len(state.length))]
        first = state.logits.float().log_softmax(-1) if words else state.logits
        for word in words:
            ids = word_ids(self.tokenizer, word)
            total = first[:, ids[0]].double()
            if len(ids) > 1:
                total = total + self._continuation(state, ids)
            for row, value in zip(found, cast("list[float]", total.tolist()), strict=True):
                row[word] = value
        return found

    def _continuation(self, state: _State, ids: list[int]) -> Tensor:
        """Log-probability of ids[1:] after ids[0]: (rows,). Leaves the cache as it was."""
        rows, more = len(state.length), len(ids) - 1
        given = torch.tensor(ids[:-1], device=state.mask.device).expand(rows, -1)
        mask = torch.cat([state.mask, state.mask.new_ones(rows, more)], dim=1)
        position = state.length[:, None] + torch.arange(more, device=mask.device)
        out = self.model(
            input_ids=given,
            attention_mask=mask,
            position_ids=position,
            past_key_values=state.cache,
            use_cache=True,
        )
        state.cache.crop(-more)  # negative: how many to take away
        p = cast(Tensor, out.logits)[:, -more:].float().log_softmax(-1)
        wanted = torch.tensor(ids[1:], device=mask.device).expand(rows, -1)
        return p.gather(-1, wanted[:, :, None]).squeeze(-1).double().sum(-1)

    def _decode(
        self, state: _State, u: Tensor, limit: int, decoding: Decoding
    ) -> list[tuple[list[int], bool]]:
        """Sample until a row ends its turn or has `limit` tokens. Ended rows leave the batch.

        A row whose logits are no distribution is cut off where it is: it never ended its turn.
        """
        cache, logits, mask, length = state.cache, state.logits, state.mask, state.length
        out: list[tuple[list[int], bool]] = [([], False) for _ in range(len(length))]
        live = list(range(len(length)))
        for step in range(limit):
            chosen = draw(logits, u[:, step], decoding.temperature, decoding.top_p, decoding.top_k)
            tokens = cast("list[int]", chosen.tolist())
            stay: list[int] = []
            for at, (row, token) in enumerate(zip(live, tokens, strict=True)):
                if token in self.stops:
                    out[row] = (out[row][0], True)
                elif token != NO_TOKEN:
                    out[row][0].append(token)
                    stay.append(at)
            if not stay or step + 1 == limit:
                break
            if len(stay) < len(live):
                keep = torch.tensor(stay, device=mask.device)
                cache.batch_select_indices(keep)
                chosen, mask, length, u = chosen[keep], mask[keep], length[keep], u[keep]
                live = [live[at] for at in stay]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            logits = self._forward(chosen[:, None], mask, length[:, None], cache)[:, -1]
            length = length + 1
        return out

    def _forward(self, ids: Tensor, mask: Tensor, position: Tensor, cache: DynamicCache) -> Tensor:
        # use_cache is given by hand: Trainer sets config.use_cache to False.
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            **self.last_only,
        )
        return cast(Tensor, out.logits)

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask, (rows, longest), padded on the left. The pad's id is never attended to."""
        width = max(len(row) for row in rows)
        device = self.model.device
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
        mask = torch.tensor(
            [[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device
        )
        return ids, mask


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that end an answer: the end of turn, and the ends that model and tokenizer name."""
    found = {end_of_turn(tokenizer)}
    config = getattr(model, "generation_config", None)
    for end in (getattr(config, "eos_token_id", None), getattr(tokenizer, "eos_token_id", None)):
        found.update(cast("list[int]", end) if isinstance(end, list) else [])
        found.update([end] if isinstance(end, int) else [])
    return frozenset(found)
