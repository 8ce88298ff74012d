"""Attention over a pack: sequences one behind the other without padding, each seeing its own past alone.

    pack [N] ──► sequences of about one length side by side [b, w], padded on the right ──► causal attention ──► pack [N]

A causal query never looks to its right, so this padding needs no mask and changes nothing; it exists inside attention only.
flash-attn takes a pack as it is and is told where the sequences end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from learner.batch.layout import Sharing
from learner.model.packing import FLASH

# transformers makes masks only for names that it knows a mask for, so none is made for this one; "sdpa" in it has transformers
# check that the model allows torch's attention.
PACKED = "packed_sdpa"
SHORT = 32  # up to this width plain products are faster than torch's fused attention on CPUs
SPREAD = 1.1  # the longest sequence of a bucket over its shortest: more wastes attention on padding, less makes more calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Where the sequences of a pack go in attention, worked out once for all layers. Legend: N tokens, R rows of all buckets."""

    buckets: tuple[tuple[int, int], ...]  # sequences and width of each
    spread: Tensor | None  # int64 [R], the token that each row holds; padding holds its sequence's last. None where R is N in order
    home: Tensor | None  # int64 [N], the row of each token

    @classmethod
    def of(cls, lengths: NDArray[np.int64], device: torch.device) -> "Pack":
        """The pack of sequences of these lengths [B] in their order."""
        order = np.argsort(-lengths, kind="stable")
        lengths, first = lengths[order], (np.cumsum(lengths) - lengths)[order]
        spread, home, buckets, rows = [], np.empty(int(lengths.sum()), np.int64), [], 0
        for part in similar(lengths):
            size, start, width = lengths[part, None], first[part, None], int(lengths[part.start])
            places = start + np.minimum(np.arange(width), size - 1)
            real = np.arange(width) < size
            home[places[real]] = rows + np.flatnonzero(real)
            spread.append(places.ravel())
            buckets.append(places.shape)
            rows += places.size
        if rows == len(home) and (home == np.arange(rows)).all():
            return cls(buckets=tuple(buckets), spread=None, home=None)
        indices = (torch.from_numpy(index).to(device) for index in (np.concatenate(spread), home))
        return cls(buckets=tuple(buckets), spread=next(indices), home=next(indices))

    def shared(self, sharing: Sharing) -> "Pack":
        """The same sequences, each with its prompt, of a pack in which equal prompts are there once."""
        return Pack(
            buckets=self.buckets,
            spread=sharing.token if self.spread is None else sharing.token[self.spread],
            home=sharing.first if self.home is None else self.home[sharing.first],
        )


def similar(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """Cut lengths that fall into runs in which the first is at most SPREAD times the last."""
    start = 0
    while start < len(lengths):
        end = int(np.searchsorted(-lengths, -lengths[start] / SPREAD, side="right"))
        yield slice(start, end)
        start = end


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    pack: Pack | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: queries [1, A, N, D], keys and values [1, A', N, D] -> [1, N, A, D], for A heads.

    Raises ValueError where a model brings a mask or keeps the pack's borders from its attention.
    """
    if pack is None or attention_mask is not None:
        what = "keeps from its attention where the sequences of a pack end" if pack is None else "brings an attention mask of its own"
        raise ValueError(f"{type(module).__name__} {what}: set learner.packing = false for this model")
    rows = [heads[0].transpose(0, 1) for heads in (query, key, value)]
    if pack.spread is not None:
        rows = [heads.index_select(0, pack.spread) for heads in rows]
    sizes = [b * w for b, w in pack.buckets]
    found = []
    for (b, w), *parts in zip(pack.buckets, *(heads.split(sizes) for heads in rows), strict=True):
        q, k, v = (part.unflatten(0, (b, w)) for part in parts)
        if w <= SHORT and q.device.type == "cpu" and not dropout:
            found.append(attend_short(q, k, v, scaling).flatten(0, 1))
            continue
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        of_bucket = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
        )
        found.append(of_bucket.transpose(1, 2).flatten(0, 1))
    out = torch.cat(found) if len(found) > 1 else found[0]
    return (out if pack.home is None else out.index_select(0, pack.home))[None], None


AttentionInterface.register(PACKED, attend)


def attend_short(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Causal attention of short sequences on CPUs: queries [B, W, A, D], keys and values [B, W, A', D] -> [B, W, A, D].

    Torch's own plain way scales queries and keys, repeats keys and values for every head, and looks for queries that see nothing. Here
    scale and mask are part of the first product, and the query heads that share keys are one matrix. Keys come before queries in the
    scores, so a softmax works on the queries of a vector register at once instead of on a few keys. Computed in float32 or better.
    `scale` is by default 1 / √D.
    """
    b, w, heads, size = query.shape
    groups = key.shape[2]
    shared = heads // groups
    precise = torch.promote_types(query.dtype, torch.float32)
    q = query.to(precise).unflatten(2, (groups, shared)).permute(0, 2, 4, 3, 1).reshape(b * groups, size, shared * w)
    k = key.to(precise).transpose(1, 2).reshape(b * groups, w, size)
    v = value.to(precise).permute(0, 2, 3, 1).reshape(b * groups, value.shape[-1], w)
    future = torch.full((w, w), -torch.inf, dtype=precise, device=query.device).tril(-1).repeat(1, shared)
    scores = torch.baddbmm(future.expand(b * groups, -1, -1), k, q, alpha=size**-0.5 if scale is None else scale)
    out = torch.bmm(v, scores.softmax(1)).view(b, groups, value.shape[-1], shared, w)
    return out.permute(0, 4, 1, 3, 2).reshape(b, w, heads, -1).to(query.dtype)


def borders(attention: Tensor, implementation: str, sharing: Sharing | None = None) -> dict[str, Any]:
    """What a decoder's attention is told of the pack whose real tokens `attention` [B, S] marks, as arguments of its forward pass."""
    lengths = attention.sum(1)
    if implementation != FLASH:
        pack = Pack.of(lengths.cpu().numpy(), attention.device)
        return {"pack": pack if sharing is None else pack.shared(sharing)}
    ends = functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    longest = int(lengths.max())
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
