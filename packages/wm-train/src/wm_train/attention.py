"""Attention masks of packed trees, in the form that a model's attention takes. Computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wm_train.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wm_train.packing import Pack

FLEX = "flex_attention"
BLOCK = 128  # tokens; the size of a block that flex_attention skips or computes
IMPLEMENTATIONS = ("sdpa", "eager", FLEX)


def tree_mask(ends: Tensor) -> Tensor:
    """True where a query may see a key, shape (rows, 1, length, length); `ends` (rows, length).

    Tokens stand depth first: key j is an ancestor of query i, or i itself, if j <= i < ends[j].
    """
    import torch

    index = torch.arange(ends.shape[1], device=ends.device)
    behind = index[:, None] >= index[None]  # (length, length)
    return (behind & (index[:, None] < ends[:, None]))[:, None]


def model_mask(pack: Pack, implementation: str, dtype: torch.dtype) -> Any:
    """What the model takes as `attention_mask`: 2-D for single sequences, else one of trees."""
    import torch

    if not pack.shared:
        return pack.valid.long()
    if implementation == "sdpa":
        return tree_mask(pack.ends)
    if implementation == "eager":
        seen = tree_mask(pack.ends)
        hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return hidden.masked_fill(~seen, torch.finfo(dtype).min)
    if implementation == FLEX:
        return _block_mask(pack.ends)
    raise ConfigError(
        f"model.attention {implementation!r} has no mask for packed trees; "
        f"take one of {', '.join(IMPLEMENTATIONS)}, or set optim.share_prefixes to false"
    )


def _block_mask(ends: Tensor) -> Any:
    """Blocks that no query of theirs may see are never computed: cost follows the trees' sizes."""
    from torch.nn.attention.flex_attention import create_block_mask

    def may_see(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query < ends[row, key])

    rows, length = ends.shape
    return create_block_mask(may_see, rows, None, length, length, device=str(ends.device))
