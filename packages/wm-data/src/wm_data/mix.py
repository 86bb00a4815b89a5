"""Weighs sources against each other in training, by leaving rows out. Held-out rows all stay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from wm_data.audit import Measured
from wm_data.errors import WmDataError
from wm_data.recipe import Source
from wm_data.rows import digest


def check_weights(
    train: Iterable[Measured], sources: Iterable[Source], dropped: Iterable[Measured]
) -> None:
    """Raise where a source with a weight has no row in training; `dropped` says why."""
    have = {item.row.source for item in train}
    for source in sources:
        if source.weight and source.role != "heldout" and source.id not in have:
            lost = Counter(item.reason for item in dropped if item.row.source == source.id)
            why = ", ".join(f"{n:,}: {reason}" for reason, n in lost.most_common())
            raise WmDataError(
                f"source {source.id}: has weight {source.weight:g} and no row is left to train on "
                f"({why or 'it has none'}); mend the source or give it weight: 0"
            )


def mix(
    train: list[Measured], sources: list[Source], seed: int
) -> tuple[list[Measured], list[Measured]]:
    """Training rows in the proportion of the weights and under the caps, and those left out.

    As many rows are kept as the scarcest source allows. Which ones is drawn from the seed.
    """
    have = {source.id: 0 for source in sources}
    for item in train:
        have[item.row.source] += 1
    room = {source.id: min(have[source.id], source.cap or have[source.id]) for source in sources}
    weights = {source.id: source.weight for source in sources if source.weight}
    if weights:
        # An empty source must not empty the others: it has no say.
        unit = min((room[id] / weights[id] for id in weights if room[id]), default=0.0)
        room = {id: math.floor(unit * weights.get(id, 0.0) + 1e-9) for id in room}
    kept: list[Measured] = []
    left_out: list[Measured] = []
    for item in sorted(train, key=lambda item: digest(f"{seed}\nmix\n{item.row_id}")):
        if room[item.row.source] > 0:
            room[item.row.source] -= 1
            kept.append(item)
        else:
            left_out.append(replace(item, reason="over its share"))
    return kept, left_out
