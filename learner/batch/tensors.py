"""A micro-batch as tensors: prompts padded on the left, responses on the right, so all responses begin in the same column."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner.batch.fetched import Fetched
from learner.batch.recorded import ExpertShape, Recording, lay_out_experts
from learner.batch.row import Row
from learner.batch.same_prompts import Rows, same_prompts
from rollout.types import Sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The inputs of one forward and backward pass. Legend: B responses, P padded prompt tokens, T padded response tokens."""

    token_ids: Tensor  # int64 [B, P+T]
    attention: Tensor  # bool [B, P+T], False on padding and on the last token of a row, which predicts nothing
    position_ids: Tensor  # int64 [B, P+T], 0 at the first real token
    answers: Tensor  # bool [B, T], False on padding
    mask: Tensor  # bool [B, T], True on tokens to learn from
    engine_logprobs: Tensor | None  # float32 [B, T], 0 off the mask; None if the engine did not return any
    advantages: Tensor  # float32 [B], or [B, T] where turns have their own
    token_weight: Tensor  # float32 [B, T], 0 off the mask
    versions: Tensor  # int64 [B], version whose weights sampled the first token
    prompt_width: int  # P
    experts: Recording | None = None  # the engine's; None if it did not record experts, or no response of the batch has any
    bad_logprobs: int = 0  # tokens masked because their engine log-prob is not finite
    turns: Tensor | None = (
        None  # int64 [B, T], the turn of its row that each sampled token belongs to, -1 off them; only with credit by turn
    )
    unrouted: int = 0  # responses whose recording was fetched and is not complete
    prompts: Rows | None = None  # the first row with the prompt of each row, on the host; None if no two rows may share one

    @property
    def whole(self) -> Tensor:
        """The tokens of prompts and responses [B, P+T], the last of each row included."""
        return torch.cat([self.attention[:, : self.prompt_width], self.answers], 1)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch with its tensors on a device. Recorded experts stay on the host until a pass replays them."""
        moved: dict[str, Any] = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved)


def build_batch(
    rows: Sequence[Row],
    fetched: Fetched,
    pad_id: int,
    *,
    captured: ExpertShape | None = None,
    mask_unrouted: bool = False,
) -> Batch:
    """Lay out the rows' prompts and responses as one padded batch; `fetched` has each row's tokens.

    Tokens of an environment are context: the pass sees them, and everything that is learned or measured leaves them out.

    Without rows the batch is one padding row with an empty mask: its rank must still take part in every collective of the pass.
    Tokens whose engine log-prob is NaN or infinite are masked and counted; they stay in the denominator of the loss. With `mask_unrouted`
    so are all tokens of a response whose recording is incomplete.
    `captured` is the shape of recordings, None if the engine makes none. A row whose recording was not fetched is routed live, uncounted.
    """
    if not rows:
        return _idle_batch(pad_id)
    prompts, responses = [fetched.prompt(row) for row in rows], [fetched.response(row) for row in rows]
    context, sizes = (np.array([[len(one)] for one in side]) for side in (prompts, responses))
    width, length = int(context.max()), int(sizes.max())
    asked, answers, read = np.arange(width) >= width - context, np.arange(length) < sizes, np.arange(length) < sizes - 1
    attention, whole = (np.concatenate([asked, shown], 1) for shown in (read, answers))
    token_ids = np.full((len(rows), width + length), pad_id, np.int64)
    own = np.zeros((len(rows), length), np.bool_)
    logprobs = np.zeros((len(rows), length), np.float32)
    reported = responses[0].logprobs is not None  # for all responses or for none: the config decides
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        token_ids[i, width - len(prompt) : width] = prompt
        token_ids[i, width : width + len(response)] = response.token_ids
        own[i, : len(response)] = response.sampled
        if reported:
            logprobs[i, : len(response)] = response.logprobs
    mask = own & np.isfinite(logprobs)
    bad = int((own & ~mask).sum())
    experts, routed = None, np.ones(len(rows), np.bool_)
    if captured is not None:
        recorded = {i: fetched.experts(row) for i, row in enumerate(rows) if fetched.has_experts(row)}
        experts, routed = lay_out_experts(recorded, list(map(len, prompts)), list(map(len, responses)), width, length, captured)
    if mask_unrouted:
        mask &= routed[:, None]
    turns = turns_of(responses, length) if any(row.by_turn for row in rows) else None
    return Batch(
        token_ids=torch.from_numpy(token_ids),
        attention=torch.from_numpy(attention),
        answers=torch.from_numpy(answers),
        position_ids=torch.from_numpy(np.maximum(whole.cumsum(1) - 1, 0)),
        mask=torch.from_numpy(mask),
        engine_logprobs=torch.from_numpy(np.where(mask, logprobs, np.float32(0))) if reported else None,
        advantages=advantages_of(rows, turns),
        token_weight=torch.from_numpy(np.where(mask, np.array([[row.weight] for row in rows], np.float32), np.float32(0))),
        versions=torch.tensor([response.oldest_version for response in responses]),
        prompt_width=width,
        experts=experts,
        bad_logprobs=bad,
        turns=turns,
        unrouted=int((~routed).sum()),
        prompts=same_prompts(prompts),
    )


def turns_of(responses: Sequence[Sampled], length: int) -> Tensor:
    """The turn that each sampled token belongs to [B, T], counted from 0 in its row; -1 elsewhere."""
    turns = np.full((len(responses), length), -1, np.int64)
    for i, response in enumerate(responses):
        for number, (begin, end) in enumerate(response.spans):
            turns[i, begin:end] = number
    return torch.from_numpy(turns)


def advantages_of(rows: Sequence[Row], turns: Tensor | None) -> Tensor:
    """The rows' advantages: float32 [B], or [B, T] where `turns` [B, T] says which turn of its row a token belongs to, 0 off the turns."""
    if turns is None:
        return torch.tensor([row.advantage for row in rows], dtype=torch.float32)
    table = torch.zeros(len(rows), max(len(row.by_turn) for row in rows), dtype=torch.float32)
    for i, row in enumerate(rows):
        table[i, : len(row.by_turn)] = torch.tensor(row.by_turn)
    spread = table.to(turns.device).gather(1, turns.clamp(min=0))
    return torch.where(turns >= 0, spread, 0)


def _idle_batch(pad_id: int) -> Batch:
    return Batch(
        token_ids=torch.full((1, 2), pad_id),
        attention=torch.ones(1, 2, dtype=torch.bool),  # softmax over no position would be NaN
        answers=torch.ones(1, 1, dtype=torch.bool),
        position_ids=torch.arange(2)[None],
        mask=torch.zeros(1, 1, dtype=torch.bool),
        engine_logprobs=torch.zeros(1, 1),
        advantages=torch.zeros(1),
        token_weight=torch.zeros(1, 1),
        versions=torch.zeros(1, dtype=torch.int64),
        prompt_width=1,
    )
