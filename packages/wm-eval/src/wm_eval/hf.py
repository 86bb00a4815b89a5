"""Answers requests with a loaded Hugging Face causal model. Judges nothing and loads nothing.

Who is asked with whom is `batching`, prompts are `prefill`, sampling is `decode`, log-probabilities
are `weigh`. Neither the model nor the tokenizer nor any global random state is changed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch

from wm_eval import adapter_kinds, memory, weigh
from wm_eval.batching import Family, openings, pools, runs
from wm_eval.cache import prompt_cache
from wm_eval.context import check_room
from wm_eval.decode import Decoder
from wm_eval.forward import Forward
from wm_eval.generator import Continuation, Likelihood, Reply, Request
from wm_eval.kernels import without_cudnn_attention
from wm_eval.prefill import Prefill
from wm_eval.prompting import encode_all, end_of_turn, prompt_text, word_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from wm_manifest import Decoding

log = logging.getLogger(__name__)


class HFGenerator:
    """`Generator` over a model in memory. `batch_size` counts rows that are decoded together.

    Where memory is not enough for so many it is halved, with what was answered kept; where it is
    not enough for one, `torch.OutOfMemoryError` is raised.

    `adapter_off` answers with the weights below a PEFT model's adapter.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        adapter_off: bool = False,
    ) -> None:
        for config in adapter_kinds.configs(model):
            adapter_kinds.check_kind(config, "the adapter")
        self.model: Any = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size  # halved where memory is not enough for so many
        self.asked = batch_size  # decides what is asked with what, whatever memory is enough for
        self.adapter_off = adapter_off
        self.stops = stop_ids(model, tokenizer)
        self.forward = Forward(model)
        without_cudnn_attention()
        # Padding inside a prompt, behind what several share, counts as distance in a window.
        self.shares = not any(prompt_cache(model.config).is_sliding)
        self._room_said = adapter_off  # then the same was said of the model with its adapter

    def answer(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> Iterator[dict[str, Reply]]:
        """Yield replies as rows end."""
        for pool in self.answering(requests, decoding, done):
            yield from pool

    def answering(
        self, requests: Sequence[Request], decoding: Decoding, done: Collection[str] = ()
    ) -> list[Iterator[dict[str, Reply]]]:
        """The pools that are to be answered; one is when it is iterated over.

        A pool of requests is answered whole or not at all, so that the same requests give the same
        batches whatever was done before.
        """
        if not self.shares:
            requests = [replace(request, family=request.id) for request in requests]
        prompts = self._prompts(requests)
        needed = (len(prompts[one.id]) + one.max_new_tokens for one in requests)
        self._check_room(max(needed, default=0))
        opening = self._openings(prompts, {request.id: request.messages for request in requests})
        prefill = Prefill(self.forward)
        return [
            self._answered(pool, prefill, prompts, decoding)
            for pool in pools(requests, prompts, opening, self.asked)
            if not all(id in done for family in pool for id in family.ids)
        ]

    def _answered(
        self,
        pool: Sequence[Family],
        prefill: Prefill,
        prompts: dict[str, list[int]],
        decoding: Decoding,
    ) -> Iterator[dict[str, Reply]]:
        """Yield replies as rows end. Where memory runs out, the families that have no replies yet
        are asked again, fewer rows at a time."""
        left, given = pool, set[str]()
        while left:
            short = False
            try:
                for replies in self._pool(left, prefill, prompts, decoding):
                    fresh = {id: reply for id, reply in replies.items() if id not in given}
                    given.update(fresh)
                    yield fresh
            except RuntimeError as error:
                if not memory.ran_out(error):
                    raise
                short = True
            left = [family for family in left if not given.issuperset(family.ids)]
            if short:  # out of the except clause, which holds on to what filled the memory
                self._fewer()

    def _pool(
        self,
        pool: Sequence[Family],
        prefill: Prefill,
        prompts: dict[str, list[int]],
        decoding: Decoding,
    ) -> Iterator[dict[str, Reply]]:
        """Yield replies to the requests of one pool as rows end."""
        rows = [request for family in pool for request in family.requests]
        decoder = Decoder(
            self.forward,
            slots=min(max(self.batch_size, len(pool[0].requests)), len(rows)),
            longest=max(len(prompts[row.id]) for row in rows),
            limit=rows[0].max_new_tokens,
            decoding=decoding,
            stops=self.stops,
        )
        waiting, options = deque(pool), dict[str, dict[str, float]]()
        while waiting or decoder.ids:
            with torch.no_grad(), self._weights():
                ended = self._advance(waiting, decoder, prefill, prompts, options)
            yield {  # outside: whoever reads them has the adapter on
                id: Reply(
                    text=cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)),
                    tokens=len(ids),
                    stopped=stopped,
                    options=options.pop(id),
                )
                for id, (ids, stopped) in ended.items()
            }

    def likelihoods(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> Iterator[dict[str, Likelihood]]:
        """Yield the likelihood of each answer, longest rows first, in fixed batches."""
        for batch in self.weighing(asked, done):
            yield from batch

    def weighing(
        self, asked: Sequence[Continuation], done: Collection[str] = ()
    ) -> list[Iterator[dict[str, Likelihood]]]:
        """The batches that are to be weighed; one is when it is iterated over."""
        prompts = self._prompts(asked)
        opening = self._openings(prompts, {one.id: one.messages for one in asked})
        rows = [(one.id, prompts[one.id], word_ids(self.tokenizer, one.answer)) for one in asked]
        rows.sort(key=lambda row: (opening[row[0]], -len(row[2]), -len(row[1]), row[0]))
        prefill, found = Prefill(self.forward), list[Iterator[dict[str, Likelihood]]]()
        while rows:
            longest, begins = max(1, len(rows[0][2])), opening[rows[0][0]]
            # The head's output for all answer positions must fit: see HEAD_ELEMENTS.
            fit = weigh.HEAD_ELEMENTS // (longest * self.forward.vocab_size)
            batch = rows[: max(1, min(self.asked, fit))]
            batch = [row for row in batch if opening[row[0]] == begins]
            if not all(id in done for id, _, _ in batch):
                found.append(self._weighed(prefill, begins, batch))
            rows = rows[len(batch) :]
        return found

    def _weighed(
        self,
        prefill: Prefill,
        opening: tuple[int, ...],
        batch: list[tuple[str, list[int], list[int]]],
    ) -> Iterator[dict[str, Likelihood]]:
        """Yield the likelihoods of a batch; in parts of it, where memory is not enough for all."""
        while batch:
            part, found = batch[: self.batch_size], None
            try:
                with torch.no_grad(), self._weights():
                    found = self._weigh(prefill, opening, [row[1:] for row in part])
            except RuntimeError as error:
                if not memory.ran_out(error):
                    raise
            if found is None:
                self._fewer()
                continue
            batch = batch[len(part) :]
            yield {id: value for (id, _, _), value in zip(part, found, strict=True)}

    def _prompts(self, asked: Sequence[Request | Continuation]) -> dict[str, list[int]]:
        """Ids of each prompt by its id."""
        texts = [prompt_text(self.tokenizer, one.messages) for one in asked]
        ids = encode_all(self.tokenizer, texts)
        return {one.id: prompt for one, prompt in zip(asked, ids, strict=True)}

    def _check_room(self, longest: int) -> None:
        line = check_room(self.model, longest)
        if line and not self._room_said:
            log.warning(line)
            self._room_said = True

    def _fewer(self) -> None:
        """Memory was not enough: ask half as many at a time from now on, if that is any at all."""
        if self.batch_size <= 1:
            raise torch.OutOfMemoryError("not enough memory for even one answer at a time")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning(
            "memory is not enough for %s answers at a time; going on with %s",
            *(self.batch_size, self.batch_size // 2),
        )
        self.batch_size //= 2

    def _openings(self, prompts: Any, messages: Any) -> dict[str, tuple[int, ...]]:
        return openings(prompts, messages) if self.shares else dict.fromkeys(prompts, ())

    def _weigh(
        self, prefill: Prefill, opening: tuple[int, ...], rows: list[tuple[list[int], list[int]]]
    ) -> list[Likelihood]:
        return weigh.answers(prefill, opening, rows)

    def _advance(
        self,
        waiting: deque[Family],
        decoder: Decoder,
        prefill: Prefill,
        prompts: dict[str, list[int]],
        options: dict[str, dict[str, float]],
    ) -> dict[str, tuple[list[int], bool]]:
        """Let in who waits, then decode until a quarter of the batch has ended."""
        while waiting and decoder.free >= len(waiting[0].requests):
            families = runs(waiting, decoder.free)
            for _ in families:
                waiting.popleft()
            ids = [[prompts[id] for id in family.ids] for family in families]
            state = prefill(families[0].opening, ids)
            rows = [request for family in families for request in family.requests]
            asked = {word: word_ids(self.tokenizer, word) for word in rows[0].options}
            words = weigh.words(self.forward, state, asked)
            options.update({row.id: given for row, given in zip(rows, words, strict=True)})
            seeds = [None if row.greedy else row.seed for row in rows]
            decoder.add([row.id for row in rows], seeds, state)
        # Letting in one row at a time would pay a pass over the weights for each.
        size = len(waiting[0].requests) if waiting else 0
        return decoder.run(max(size, decoder.slots // 4) if waiting else decoder.slots)

    @contextmanager
    def _weights(self) -> Generator[None]:
        """The weights to answer with. PEFT turns gradients on when it puts an adapter back."""
        if not self.adapter_off:
            yield
            return
        wanted = [(p, p.requires_grad) for p in self.model.parameters()]
        try:
            with self.model.disable_adapter():
                yield
        finally:
            for parameter, gradient in wanted:
                parameter.requires_grad_(gradient)


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that end an answer: the end of turn, and the ends that model and tokenizer name."""
    found = {end_of_turn(tokenizer)}
    config = getattr(model, "generation_config", None)
    for end in (getattr(config, "eos_token_id", None), getattr(tokenizer, "eos_token_id", None)):
        found.update(cast("list[int]", end) if isinstance(end, list) else [])
        found.update([end] if isinstance(end, int) else [])
    return frozenset(found)
