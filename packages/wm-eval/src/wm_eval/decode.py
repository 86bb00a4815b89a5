"""Samples the answers of many rows at once; a row that ends makes room for one that waits.

Without that a batch decodes until its longest answer ends, with ever fewer rows in each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from wm_eval.cache import Rows
from wm_eval.sampling import NO_TOKEN, draw, uniforms

if TYPE_CHECKING:
    from wm_eval.forward import Forward
    from wm_eval.prefill import Prompts
    from wm_manifest import Decoding

Ended = dict[str, tuple[list[int], bool]]  # by id: sampled ids, and whether the row ended its turn


class Decoder:
    """Up to `slots` rows, whose prompts have at most `longest` tokens and answers `limit`."""

    def __init__(
        self,
        forward: Forward,
        slots: int,
        longest: int,
        limit: int,
        decoding: Decoding,
        stops: frozenset[int],
    ) -> None:
        self.forward, self.slots, self.limit, self.decoding = forward, slots, limit, decoding
        device = forward.device
        self.rows = Rows(forward.model.config, slots, longest + limit, device)
        self.ids: list[str] = []
        self.logits = torch.zeros(0, 0, device=device)  # (rows, vocab), of the next token
        self.u = torch.zeros(0, limit, device=device)  # (rows, limit), each row's own numbers
        self.sampled = torch.zeros(0, limit, dtype=torch.long, device=device)
        self.count = torch.zeros(0, dtype=torch.long, device=device)  # sampled so far
        self.stops = torch.tensor(sorted(stops), device=device)

    @property
    def free(self) -> int:
        return self.slots - len(self.ids)

    def add(self, ids: Sequence[str], seeds: Sequence[int | None], prompts: Prompts) -> None:
        """Rows with these ids, behind the rows that are being answered; no seed: greedily."""
        self.rows.add(prompts.cache, prompts.mask)
        u = uniforms(seeds, self.limit).to(self.u.device)
        self.logits = torch.cat([self.logits, prompts.logits]) if self.ids else prompts.logits
        self.ids += ids
        self.u = torch.cat([self.u, u])
        self.sampled = torch.cat([self.sampled, torch.zeros_like(u, dtype=torch.long)])
        self.count = torch.cat([self.count, torch.zeros_like(u[:, 0], dtype=torch.long)])

    def run(self, until_free: int) -> Ended:
        """Decode until so many slots are free; the rows that have ended by then."""
        ended: Ended = {}
        while self.free < until_free:
            ended |= self._step()
        return ended

    def _step(self) -> Ended:
        """One token for every row. A row whose logits are no distribution is cut where it is."""
        at, d = self.count[:, None], self.decoding
        u = self.u.gather(1, at).squeeze(1)
        tokens = draw(self.logits, u, d.temperature, d.top_p, d.top_k)
        stopped = torch.isin(tokens, self.stops)
        sampled = ~stopped & (tokens != NO_TOKEN)
        self.sampled.scatter_(1, at, tokens[:, None])
        self.count += sampled
        over = ~sampled | (self.count == self.limit)
        ended: Ended = {}
        if out := cast("list[int]", over.nonzero().squeeze(1).tolist()):
            for row in out:
                ids = cast("list[int]", self.sampled[row, : self.count[row]].tolist())
                ended[self.ids[row]] = (ids, bool(stopped[row]))
            tokens = self._leave(out, tokens)
        if self.ids:
            mask, position = self.rows.mask(), self.rows.length[:, None]
            self.logits = self.forward(tokens[:, None], mask, position, self.rows.cache)[:, -1]
            self.rows.grown()
        return ended

    def _leave(self, out: list[int], tokens: Tensor) -> Tensor:
        """Take rows out: the last ones move into their slots. Returns the tokens of the others."""
        count, gone = len(self.ids) - len(out), set(out)
        holes = [row for row in out if row < count]
        movers = [row for row in range(count, len(self.ids)) if row not in gone]
        for hole, mover in zip(holes, movers, strict=True):
            self.ids[hole] = self.ids[mover]
        del self.ids[count:]
        self.rows.keep(holes, movers, count)
        order = torch.arange(count, device=tokens.device)
        order[holes] = torch.tensor(movers, dtype=torch.long, device=tokens.device)
        self.u, self.sampled, self.count = self.u[order], self.sampled[order], self.count[order]
        return tokens[order]
