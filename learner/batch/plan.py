"""The plan of a step: its responses divided into updates, ranks and micro-batches, from summaries alone.

Advantages and token weights are computed for the whole update before it is divided, so the division cannot change them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.arithmetic import counted
from configs.presets import Preset
from configs.schema import Config
from configs.sections.objective import Credit
from configs.sections.reward import RewardConfig
from learner.loss.advantages import ADVANTAGES, EVERY_TOKEN
from learner.loss.parts import DECOUPLED, decoupled_advantages
from learner.loss.reductions import REDUCTIONS, Extent
from learner.loss.turns import advantages_of_turns, rewards_of_turns
from rollout.types import GroupSummary

WHOLE = RewardConfig()  # a reward of correctness alone
Place = tuple[int, int]  # of a response: the position of its group among the step's groups, its own among the group's responses


class Row(NamedTuple):
    """One response to learn from; of an episode whose context was rewritten, one of its segments.

    A named tuple, since a frozen dataclass takes four times as long to make, and a large step has a hundred thousand.
    """

    group: int  # position of its group among the step's groups
    member: int  # position among the group's responses
    advantage: float  # of all its tokens, unless `by_turn` says more
    weight: float  # in the update's loss, of each token that the model sampled
    prompt_tokens: int
    tokens: int  # prompt and response, the environment's included
    segment: int = 0  # position among the response's segments
    first_turn: int = 0  # the turns of the response's earlier segments
    by_turn: tuple[float, ...] = ()  # the advantage of each of its turns; empty where they all have one

    @property
    def place(self) -> Place:
        return self.group, self.member

    @property
    def name(self) -> tuple[int, ...]:
        """Numbers that no other row of the step has: its place, and of a later segment its position too."""
        return (*self.place, self.segment) if self.segment else self.place

    @property
    def is_level(self) -> bool:
        """Whether every advantage is exactly 0."""
        return self.advantage == 0 and not any(self.by_turn)


MicroBatch = tuple[Row, ...]


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
    reward: RewardConfig = WHOLE,
    credit: Credit = "whole",
) -> StepPlan:
    """Divide a step's groups into updates in order, and each update's responses over ranks and micro-batches.

    A micro-batch has at most `micro_batch_tokens` tokens, counted with padding unless `packed`. Raises ValueError if a response alone has
    more, or if the groups cannot be divided into `updates`. `response_tokens` is the most tokens of a response. `overlong_filter` leaves
    truncated responses out of the loss but not out of the group's baseline: DAPO, arXiv 2503.14476, section 3.4. `reward` names the parts
    that a decoupled advantage compares. With `credit` = "turn" every turn has an advantage of its own, whatever the preset says.
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
        plans.append(UpdatePlan(micro_batches=_divide(rows, ranks, micro_batch_tokens, packed), left_out=left_out))
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


def _longest_first(row: Row) -> tuple[int, int, int, int]:
    return -row.tokens, row.group, row.member, row.segment


def _divide(rows: Sequence[Row], ranks: int, budget: int, packed: bool) -> tuple[tuple[MicroBatch, ...], ...]:
    longest = max(rows, key=lambda r: r.tokens, default=None)
    if longest is not None and longest.tokens > budget:
        raise ValueError(
            f"response {longest.member} of the step's group {longest.group} has {longest.tokens} tokens with its prompt, "
            f"a micro-batch may hold {budget}: set learner.micro_batch_tokens to at least {longest.tokens}"
        )
    cuts = [_cut(hand, budget, packed) for hand in _deal(rows, ranks)]
    # A pass is a collective under ZeRO-3 and with spread experts: a rank with fewer micro-batches takes part with empty ones.
    count = max(1, *map(len, cuts))
    return tuple(cut + ((),) * (count - len(cut)) for cut in cuts)


def _deal(rows: Sequence[Row], ranks: int) -> list[list[Row]]:
    """Give the longest remaining row to the rank with the fewest tokens; ties go by position, so every rank computes the same."""
    hands: list[list[Row]] = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    heapify(loads)
    for row in sorted(rows, key=_longest_first):
        load, rank = loads[0]
        hands[rank].append(row)
        heapreplace(loads, (load + row.tokens, rank))
    return hands


def _cut(rows: Sequence[Row], budget: int, packed: bool) -> tuple[MicroBatch, ...]:
    """Cut rows, which are in order of length, where one more would exceed the budget; padding counts unless `packed`."""
    batches: list[MicroBatch] = []
    current: list[Row] = []
    prompt = response = real = 0
    for row in rows:
        prompt, response, real = max(prompt, row.prompt_tokens), max(response, row.tokens - row.prompt_tokens), real + row.tokens
        if current and (real if packed else (len(current) + 1) * (prompt + response)) > budget:
            batches.append(tuple(current))
            current, prompt, response, real = [], row.prompt_tokens, row.tokens - row.prompt_tokens, row.tokens
        current.append(row)
    return (*batches, tuple(current)) if current else tuple(batches)


def cut_into_micro_batches(rows: Sequence[Row], budget: int, *, packed: bool) -> tuple[MicroBatch, ...]:
    """Rows sorted by length and cut into micro-batches of at most `budget` tokens."""
    return _cut(sorted(rows, key=_longest_first), budget, packed)
