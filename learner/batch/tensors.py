"""A micro-batch as tensors: prompts padded on the left, responses on the right, so that all responses begin in one column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner.batch.plan import Row
from learner.batch.recorded import ExpertShape, Recording, lay_out_experts
from rollout.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one forward and backward pass needs. Legend: B responses, P padded prompt tokens, T padded response tokens."""

    token_ids: Tensor  # int64 [B, P+T]
    attention: Tensor  # bool [B, P+T], False on padding
    position_ids: Tensor  # int64 [B, P+T], 0 at the first real token
    mask: Tensor  # bool [B, T], True on tokens to learn from
    rollout_logprobs: Tensor | None  # float32 [B, T], 0 off the mask; None where the engine was told not to return them
    advantages: Tensor  # float32 [B]
    token_weight: Tensor  # float32 [B, T], 0 off the mask
    versions: Tensor  # int64 [B], step whose weights sampled the first token
    prompt_width: int  # P
    experts: Recording | None = None  # those the engine took; None where it was not asked, or no response of the batch brings any
    bad_logprobs: int = 0  # tokens masked because the engine's log-prob was not finite
    unrouted: int = 0  # responses that do not bring the engine's experts whole although it was asked for them

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on a device. Recorded experts stay where they are: only a pass that replays them needs them."""
        moved: dict[str, Any] = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved)


def build_batch(
    rows: Sequence[Row],
    groups: Mapping[int, Group] | Sequence[Group],
    pad_id: int,
    *,
    captured: ExpertShape | None = None,
    mask_unrouted: bool = False,
) -> Batch:
    """Lay the rows' prompts and responses out as one padded batch; `groups[row.group]` holds each row's tokens.

    No rows make a batch of one padding row whose mask is empty: its rank still takes part in every collective of the pass.
    Tokens whose rollout log-prob is NaN or infinite are masked and counted, and keep their share of the denominator; so are, where
    `mask_unrouted`, all tokens of a response that does not bring the experts that its engine took. `captured` is the model's shape where
    the engine was asked for them.
    """
    if not rows:
        return _idle_batch(pad_id)
    prompts = [groups[row.group].prompt.token_ids for row in rows]
    responses = [groups[row.group].responses[row.member] for row in rows]
    width, length = max(map(len, prompts)), max(map(len, responses))
    token_ids = np.full((len(rows), width + length), pad_id, np.int64)
    attention = np.zeros((len(rows), width + length), np.bool_)
    logprobs = np.zeros((len(rows), length), np.float32)
    told = responses[0].logprobs is not None  # all or none: the config decides
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        real = slice(width - len(prompt), width + len(response))
        token_ids[i, real] = np.concatenate([prompt, response.token_ids])
        attention[i, real] = True
        if told:
            logprobs[i, : len(response)] = response.logprobs
    mask = attention[:, width:] & np.isfinite(logprobs)
    bad = int((attention[:, width:] & ~mask).sum())
    experts, routed = None, np.ones(len(rows), np.bool_)
    if captured is not None:
        experts, routed = lay_out_experts(prompts, responses, width, length, captured)
    if mask_unrouted:
        mask &= routed[:, None]
    weights = np.array([row.weight for row in rows], np.float32)
    return Batch(
        token_ids=torch.from_numpy(token_ids),
        attention=torch.from_numpy(attention),
        position_ids=torch.from_numpy(np.maximum(attention.cumsum(1) - 1, 0)),
        mask=torch.from_numpy(mask),
        rollout_logprobs=torch.from_numpy(np.where(mask, logprobs, np.float32(0))) if told else None,
        advantages=torch.tensor([row.advantage for row in rows], dtype=torch.float32),
        token_weight=torch.from_numpy(np.where(mask, weights[:, None], np.float32(0))),
        versions=torch.tensor([response.oldest_version for response in responses]),
        prompt_width=width,
        experts=experts,
        bad_logprobs=bad,
        unrouted=int((~routed).sum()),
    )


def _idle_batch(pad_id: int) -> Batch:
    return Batch(
        token_ids=torch.full((1, 2), pad_id),
        attention=torch.ones(1, 2, dtype=torch.bool),  # a row that attends to nothing would make the softmax NaN
        position_ids=torch.arange(2)[None],
        mask=torch.zeros(1, 1, dtype=torch.bool),
        rollout_logprobs=torch.zeros(1, 1),
        advantages=torch.zeros(1),
        token_weight=torch.zeros(1, 1),
        versions=torch.zeros(1, dtype=torch.int64),
        prompt_width=1,
    )
