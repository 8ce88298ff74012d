"""The plan of a step: its responses divided into updates, ranks and micro-batches, from summaries alone.

Advantages and token weights are computed for the whole update before it is divided, so the division cannot change them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.arithmetic import counted
from configs.presets import Preset
from configs.schema import Config
from configs.sections.objective import Credit
from configs.sections.reward import RewardConfig
from learner.batch.divide import divide
from learner.batch.row import MicroBatch, Row
from learner.loss.advantages import ADVANTAGES, EVERY_TOKEN
from learner.loss.parts import DECOUPLED, decoupled_advantages
from learner.loss.reductions import REDUCTIONS, Extent
from learner.loss.turns import advantages_of_turns, rewards_of_turns
from rollout.types import GroupSummary

WHOLE = RewardConfig()  # a reward of correctness alone


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePlan:
    """One optimizer update."""

    micro_batches: tuple[tuple[MicroBatch, ...], ...]  # [rank][micro-batch], equally many on every rank; some may be empty
    left_out: int  # responses that are not learned: failed, aborted, filtered, empty, or the only scored one of its group

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(chain.from_iterable(chain.from_iterable(self.micro_batches)))

    @property
    def without_signal(self) -> bool:
        """Whether no response is better or worse than what it is compared with: every advantage is exactly 0."""
        return all(row.is_level for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """The updates of one step, in order."""

    updates: tuple[UpdatePlan, ...]

    def of_rank(self, rank: int) -> tuple[tuple[MicroBatch, ...], ...]:
        """The micro-batches of one rank [update][micro-batch]."""
        return tuple(update.micro_batches[rank] for update in self.updates)

    def rows_of_rank(self, rank: int) -> tuple[Row, ...]:
        """All rows of one rank."""
        return tuple(chain.from_iterable(chain.from_iterable(self.of_rank(rank))))


def plan_for(config: Config, preset: Preset, ranks: int, summaries: Sequence[GroupSummary]) -> StepPlan:
    """The plan of a step under a run's config. The driver makes it too, to know which rank needs which response."""
    learner = config.learner
    return plan_step(
        summaries,
        preset,
        updates=learner.updates_per_step,
        ranks=ranks,
        micro_batch_tokens=learner.micro_batch_tokens,
        response_tokens=config.rollout.max_response_tokens,
        overlong_filter=config.objective.overlong_filter,
        packed=learner.packing is True,
        shared=learner.shares_prompts,
        reward=config.reward,
        credit=config.objective.credit,
    )


def plan_step(
    summaries: Sequence[GroupSummary],
    preset: Preset,
    *,
    updates: int,
    ranks: int,
    micro_batch_tokens: int,
    response_tokens: int,
    overlong_filter: bool = False,
    packed: bool = False,
    shared: bool = False,
    reward: RewardConfig = WHOLE,
    credit: Credit = "whole",
) -> StepPlan:
    """Divide a step's groups into updates in order, and each update's responses over ranks and micro-batches.

    A micro-batch has at most `micro_batch_tokens` tokens, with padding unless `packed`. With `shared` passes compute equal prompts in
    it once. Raises ValueError if a response alone has more, or if the groups cannot be divided into `updates`.
    `response_tokens` is the most tokens of a response. `overlong_filter` leaves truncated responses out of the loss, not out of the
    group's baseline: DAPO, arXiv 2503.14476, section 3.4. `reward` names the parts that a decoupled advantage compares. With
    `credit` = "turn" every turn has an advantage of its own, whatever the preset says.
    """
    if len(summaries) % updates:
        raise ValueError(
            f"got {counted(len(summaries), 'group')} for {counted(updates, 'update')}, need a multiple: "
            "change rollout.groups_per_step or learner.updates_per_step so that the second divides the first"
        )
    size = len(summaries) // updates
    weighed = weigh(summaries, preset, overlong_filter, reward, credit)
    plans = []
    for k in range(updates):
        rows = rows_of(weighed[k * size : (k + 1) * size], preset, response_tokens)
        left_out = sum(len(group.learned) - int(group.learned.sum()) for group in weighed[k * size : (k + 1) * size])
        plans.append(UpdatePlan(micro_batches=divide(rows, ranks, micro_batch_tokens, packed=packed, shared=shared), left_out=left_out))
    return StepPlan(updates=tuple(plans))


class Weighed(NamedTuple):
    """A group with the advantages of its responses."""

    position: int  # among the step's groups
    summary: GroupSummary
    advantages: NDArray[np.float64]  # [G]
    learned: NDArray[np.bool_]  # [G]
    by_turn: Sequence[NDArray[np.float64]] = ()  # [G] of [K], with credit by turn


def weigh(
    summaries: Sequence[GroupSummary], preset: Preset, overlong_filter: bool, reward: RewardConfig = WHOLE, credit: Credit = "whole"
) -> list[Weighed]:
    """The advantages of a step's groups, across groups if the preset compares them, and which responses are learned."""
    rewards = [np.where(s.aborted, np.nan, s.rewards) for s in summaries]
    learned = [_learned(s, r, overlong_filter, alone=preset.advantage == "none") for s, r in zip(summaries, rewards, strict=True)]
    if credit == "turn":
        return [_weigh_turns(i, s, r, chosen) for i, (s, r, chosen) in enumerate(zip(summaries, rewards, learned, strict=True))]
    counted = [np.ones_like(chosen) if preset.advantage in EVERY_TOKEN else chosen for chosen in learned]
    tokens = [np.where(chosen, s.sampled, 0).astype(np.float64) for s, chosen in zip(summaries, counted, strict=True)]
    if not summaries:
        advantages = []
    elif preset.advantage == DECOUPLED:
        advantages = decoupled_advantages(reward, summaries, rewards)
    else:
        advantages = ADVANTAGES[preset.advantage](rewards, tokens)
    return [Weighed(i, s, a, chosen) for i, (s, a, chosen) in enumerate(zip(summaries, advantages, learned, strict=True))]


def _weigh_turns(position: int, summary: GroupSummary, rewards: NDArray[np.float64], learned: NDArray[np.bool_]) -> Weighed:
    by_turn = advantages_of_turns(rewards_of_turns(summary, rewards))
    first = np.array([advantages[0] if advantages.size else 0.0 for advantages in by_turn])
    return Weighed(position, summary, first, learned, by_turn)


def rows_of(groups: Sequence[Weighed], preset: Preset, response_tokens: int) -> list[Row]:
    """The learned responses of one update, each with its advantage and its token weight, in the groups' order.

    A response of several segments is as many rows of one weight: reductions see the tokens of all of them as one sequence.
    """
    if not groups:
        return []
    sizes = [len(group.learned) for group in groups]
    extent = Extent(
        lengths=np.concatenate([group.summary.sampled for group in groups]),
        learned=np.concatenate([group.learned for group in groups]),
        group=np.repeat(np.arange(len(groups)), sizes),
        budget=response_tokens,
    )
    weights = np.split(REDUCTIONS[preset.reduction](extent), np.cumsum(sizes)[:-1])
    return [row for group, weight in zip(groups, weights, strict=True) for row in _rows_of_group(group, weight.tolist())]


def _rows_of_group(group: Weighed, weights: Sequence[float]) -> Iterator[Row]:
    advantages, segments = group.advantages.tolist(), group.summary.every_segment
    for member in np.flatnonzero(group.learned).tolist():
        first_turn = 0
        for number, segment in enumerate(segments[member]):
            last_turn = first_turn + segment.turns
            if segment.sampled:
                yield Row(
                    group=group.position,
                    member=member,
                    advantage=advantages[member],
                    weight=weights[member],
                    prompt_tokens=segment.prompt_tokens,
                    tokens=segment.prompt_tokens + segment.tokens,
                    segment=number,
                    first_turn=first_turn,
                    by_turn=tuple(group.by_turn[member][first_turn:last_turn].tolist()) if group.by_turn else (),
                )
            first_turn = last_turn


def _learned(summary: GroupSummary, rewards: NDArray[np.float64], overlong_filter: bool, alone: bool) -> NDArray[np.bool_]:
    """Which responses of a group are learned [G]; rewards are NaN where a response failed or was aborted.

    `alone` lets a single one be learned, where nothing is compared.
    """
    survives = np.isfinite(rewards)
    if survives.sum() <= 1 and not alone:  # a single scored response has no other to compare with
        return np.zeros_like(survives)
    learned: NDArray[np.bool_] = survives & (summary.sampled > 0)
    return learned & ~summary.truncated if overlong_filter else learned
