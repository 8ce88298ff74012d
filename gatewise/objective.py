"""The objective of a run for a training loop of your own: from rewards, masks and log-probs to advantages, token weights and the loss.

Legend: N responses of one update, T response tokens. Rows stand in any order; `groups` [N] says which prompt each answers. A reward of
NaN is a response that could not be scored; a row of `mask` without a True is a response that is not learned. Both leave the loss. To split
an update into micro-batches, give `loss` some of the rows of everything: the losses add up.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.errors import InputError
from configs.presets import CORRECTIONS, PRESETS, Kl, Objective, Preset
from configs.surrogates import Minirl
from learner.loss.advantages import ADVANTAGES, EVERY_TOKEN, decouple, differ
from learner.loss.objective import LossInputs, policy_loss
from learner.loss.reductions import REDUCTIONS, Extent
from learner.loss.turns import advantages_of_turns
from learner.model.logprobs import token_logprobs

__all__ = [
    "CORRECTIONS",
    "PRESETS",
    "Kl",
    "Objective",
    "Preset",
    "advantages",
    "compose",
    "loss",
    "token_logprobs",
    "token_weights",
    "turn_advantages",
    "with_signal",
]


def compose(preset: str | Preset = "grpo", correction: str = "none", kl: Kl | None = None) -> Objective:
    """The objective of a preset with a correction of the mismatch to the engine and a KL; InputError for an unknown name."""
    if isinstance(preset, str) and preset not in PRESETS:
        raise InputError(f'preset got "{preset}", needed one of {", ".join(PRESETS)}')
    if correction not in CORRECTIONS:
        raise InputError(f'correction got "{correction}", needed one of {", ".join(CORRECTIONS)}')
    if kl is not None and kl.in_reward:
        raise InputError('kl.place got "reward", which no loss contains: subtract the KL from the rewards, or use place="loss"')
    return Objective(preset=PRESETS[preset] if isinstance(preset, str) else preset, correction=CORRECTIONS[correction], kl=kl or Kl())


def advantages(
    objective: Objective | str, rewards: Tensor, groups: Tensor, mask: Tensor, parts: Sequence[tuple[float, Tensor]] = ()
) -> Tensor:
    """How much better each response did than its group [N], from rewards [N], groups [N] and the mask [N, T] of learned tokens.

    `parts` are the weight and the numbers [N] of every part of the reward, which "decoupled" (GDPO) compares one by one.
    """
    rows = _Rows(rewards, groups, mask)
    name = _objective(objective).preset.advantage
    if parts and name != "decoupled":
        raise InputError(f'got parts with the advantage "{name}", which compares whole rewards: leave them out, or use preset "gdpo"')
    tokens = np.where(rows.learned | (name in EVERY_TOKEN), rows.lengths, 0).astype(np.float64)
    places = np.split(np.argsort(rows.group, kind="stable"), np.cumsum(np.bincount(rows.group))[:-1])
    found = np.zeros(len(rows.rewards))
    if parts:
        numbers = [
            (weight, np.where(np.isfinite(rows.rewards), values.detach().cpu().double().numpy(), np.nan)) for weight, values in parts
        ]
        of_groups = decouple([(weight, [values[p] for p in places]) for weight, values in numbers])
    else:
        of_groups = ADVANTAGES[name]([rows.rewards[p] for p in places], [tokens[p] for p in places])
    for place, values in zip(places, of_groups, strict=True):
        found[place] = values
    return rows.tensor(found)


def turn_advantages(rewards: Tensor, turns: Tensor, groups: Tensor) -> Tensor:
    """Credit by turn: the advantage of every token [N, T], 0 off the turns.

    `rewards` [N, K] has what each turn earned, NaN in the first turn of a response that could not be scored; `turns` [N, T] says which turn
    sampled a token, counted from 0, and -1 for an environment's tokens and padding.
    """
    if (rewards.dim(), turns.dim()) != (2, 2) or len(turns) != len(rewards) or groups.shape != rewards.shape[:1]:
        shapes = ", ".join(str(list(value.shape)) for value in (rewards, turns, groups))
        raise InputError(f"rewards, turns and groups have the shapes {shapes}: they must be [N, K], [N, T] and [N]")
    if turns.numel() and int(turns.max()) >= rewards.shape[1]:
        raise InputError(
            f"turns names turn {int(turns.max())}, counted from 0, but rewards has {rewards.shape[1]} columns: it needs one a turn"
        )
    last = turns.amax(1).cpu().tolist() if turns.shape[1] else [-1] * len(turns)
    earned = [row[: max(end, 0) + 1] for row, end in zip(rewards.detach().cpu().double().numpy(), last, strict=True)]
    earned = [np.full(len(row), np.nan) if np.isnan(row).any() else row for row in earned]
    found = torch.zeros(rewards.shape, dtype=torch.float64)
    named = groups.cpu().numpy()
    for group in np.unique(named):
        places = np.flatnonzero(named == group)
        for place, values in zip(places, advantages_of_turns([earned[p] for p in places]), strict=True):
            found[int(place), : len(values)] = torch.from_numpy(values)
    spread = found.to(turns.device).gather(1, turns.clamp(min=0).long())
    kind = torch.float64 if rewards.dtype == torch.float64 else torch.float32
    return torch.where(turns >= 0, spread, 0).to(rewards.device, kind)


def token_weights(objective: Objective | str, rewards: Tensor, groups: Tensor, mask: Tensor, *, max_tokens: int | None = None) -> Tensor:
    """The weight of every token in the loss of the update [N, T]; `max_tokens` is the budget of a response, by which Dr.GRPO divides."""
    reduction = _objective(objective).preset.reduction
    if reduction == "budget_mean" and max_tokens is None:
        raise InputError('the reduction "budget_mean" divides by the most tokens that a response may have: give max_tokens')
    rows = _Rows(rewards, groups, mask)
    extent = Extent(lengths=rows.lengths, learned=rows.learned, group=rows.group, budget=max_tokens or mask.shape[1])
    return rows.tensor(REDUCTIONS[reduction](extent))[:, None].expand(mask.shape)


def loss(
    objective: Objective | str,
    logprobs: Tensor,
    *,
    advantages: Tensor,
    token_weights: Tensor,
    mask: Tensor,
    old_logprobs: Tensor | None = None,
    engine_logprobs: Tensor | None = None,
    reference_logprobs: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to minimise, and sums over its tokens: divide them by `tokens` after adding up micro-batches, except the maximum.

    Log-probs are [N, T] at the temperature that sampled the tokens; only `logprobs` has a gradient. Without `old_logprobs` the policy is
    the one that sampled, as in the first update of a batch. InputError where the objective needs log-probs that are missing.
    """
    whole = _objective(objective)
    needs_engine = whole.correction.uses_engine or whole.preset.old == "engine" or isinstance(whole.preset.surrogate, Minirl)
    if needs_engine and engine_logprobs is None:
        raise InputError("this objective compares with the log-probs that the sampler returned: give engine_logprobs")
    if whole.kl.in_loss and reference_logprobs is None:
        raise InputError("this objective has a KL to a reference policy: give reference_logprobs")
    old = logprobs.detach() if old_logprobs is None else old_logprobs.detach()
    inputs = LossInputs(
        old_logprobs=engine_logprobs if whole.preset.old == "engine" and engine_logprobs is not None else old,
        advantages=advantages,
        mask=mask.bool(),
        token_weight=token_weights,
        engine_logprobs=engine_logprobs,
        reference_logprobs=reference_logprobs,
    )
    return policy_loss(whole, logprobs, inputs)


def with_signal(rewards: Tensor, groups: Tensor) -> Tensor:
    """Which responses belong to a group whose rewards differ [N]: DAPO's dynamic sampling learns only those."""
    rows = _Rows(rewards, groups, torch.ones(len(rewards), 1, dtype=torch.bool))
    scored = np.isfinite(rows.rewards)
    signal = [differ(rows.rewards[(rows.group == group) & scored]) for group in range(rows.group.max(initial=-1) + 1)]
    return torch.from_numpy(np.array(signal, np.bool_)[rows.group]).to(rewards.device)


class _Rows:
    """The N responses of an update in NumPy, groups numbered from 0."""

    def __init__(self, rewards: Tensor, groups: Tensor, mask: Tensor) -> None:
        if rewards.dim() != 1 or groups.shape != rewards.shape or mask.shape[:-1] != rewards.shape:
            shapes = ", ".join(str(list(value.shape)) for value in (rewards, groups, mask))
            raise InputError(f"rewards, groups and mask have the shapes {shapes}: they must be [N], [N] and [N, T]")
        self.like = rewards
        self.rewards: NDArray[np.float64] = rewards.detach().cpu().double().numpy()
        self.group: NDArray[np.int64] = np.unique(groups.cpu().numpy(), return_inverse=True)[1].reshape(-1)
        self.lengths: NDArray[np.int64] = mask.bool().sum(1).cpu().numpy()
        scored = np.isfinite(self.rewards)
        compared = np.bincount(self.group, weights=scored)[self.group] > 1 if len(self.group) else scored
        self.learned: NDArray[np.bool_] = scored & compared & (self.lengths > 0)

    def tensor(self, values: NDArray[np.float64]) -> Tensor:
        """Values as a tensor where the rewards are, float32 unless these are float64."""
        kind = torch.float64 if self.like.dtype == torch.float64 else torch.float32
        return torch.from_numpy(values).to(self.like.device, kind)


def _objective(named: Objective | str) -> Objective:
    return compose(named) if isinstance(named, str) else named
