"""Causal attention of many short sequences on CPUs: two batches of products with a softmax between them.

Torch's own plain way scales queries and keys, repeats keys and values for every head, and looks for queries that see nothing. Here scale
and mask are part of the first product, and the query heads that share keys are one matrix. Keys come before queries in the
scores, so a softmax works on the queries of a vector register at once instead of on a few keys.
"""

import torch
from torch import Tensor


def attend_short(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Causal attention: queries [B, W, A, D], keys and values [B, W, A', D], A a multiple of A' -> [B, W, A, D].

    Computed in float32 or better, whatever the type of the queries. `scale` is by default 1 / √D.
    """
    b, w, heads, size = query.shape
    groups = key.shape[2]
    shared = heads // groups
    precise = torch.promote_types(query.dtype, torch.float32)
    q = query.to(precise).unflatten(2, (groups, shared)).permute(0, 2, 4, 3, 1).reshape(b * groups, size, shared * w)
    k = key.to(precise).transpose(1, 2).reshape(b * groups, w, size)
    v = value.to(precise).permute(0, 2, 3, 1).reshape(b * groups, value.shape[-1], w)
    future = torch.full((w, w), -torch.inf, dtype=precise).tril(-1).repeat(1, shared)
    scores = torch.baddbmm(future.expand(b * groups, -1, -1), k, q, alpha=size**-0.5 if scale is None else scale)
    out = torch.bmm(v, scores.softmax(1)).view(b, groups, value.shape[-1], shared, w)
    return out.permute(0, 4, 1, 3, 2).reshape(b, w, heads, -1).to(query.dtype)
