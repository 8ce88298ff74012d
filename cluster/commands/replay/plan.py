"""Plans the step of a capsule again: advantages from rewards, and the weight of every token."""

from collections.abc import Sequence

import numpy as np
import torch

from cluster.commands.replay.found import Check
from cluster.commands.replay.tensors import LearnedBatch, planned
from cluster.record.capsules.read import Capsule, CapsuleRow
from configs.arithmetic import counted
from configs.schema import Config
from learner.batch.costs import Costs, Measured, charged, cost_table
from learner.batch.plan import StepPlan, plan_for
from learner.batch.row import Row
from rollout.types import GroupSummary


def check_plan(capsule: Capsule, config: Config, batches: Sequence[LearnedBatch]) -> tuple[Check, Check]:
    """The advantages and the token weights of all rows."""
    advantages, weights = Check("advantages"), Check("weights")
    summaries = [group.summary for group in capsule.groups]
    costs = costs_of(config, batches, summaries)
    plan = plan_for(config, config.whole_objective.preset, capsule.ranks, summaries if costs is None else charged(summaries, costs))
    recorded = {(row.position, row.member, row.segment): row for row in capsule.rows}
    expected = {(row.group, row.member, row.segment): (row, update, rank) for row, (update, rank) in rows_of(plan).items()}
    weights.different += [
        f"{recorded[name].where}: it was learned, and the plan leaves it out" for name in sorted(recorded.keys() - expected.keys())
    ]
    weights.different += [
        f"group {capsule.groups[name[0]].group_id}, response {name[1]}: the plan learns it, and the capsule has no row of it"
        for name in sorted(expected.keys() - recorded.keys())
    ]
    for name in sorted(recorded.keys() & expected.keys()):
        row, update, rank = expected[name]
        spoilt = costs is not None and not np.isfinite(costs[row.place]).all()
        compare_row(advantages, weights, recorded[name], row, (update, rank), spoilt=spoilt)
    learned = sum(int(row.mask.sum()) for row in capsule.rows)
    advantages.compared = f"those of {counted(len(recorded), 'row')}"
    weights.compared = f"those of {counted(learned, 'token')}"
    return advantages, weights


def rows_of(plan: StepPlan) -> dict[Row, tuple[int, int]]:
    """The rows of a plan with the update and the rank of each."""
    return {
        row: (number, rank)
        for number, update in enumerate(plan.updates)
        for rank, batches in enumerate(update.micro_batches)
        for batch in batches
        for row in batch
    }


def costs_of(config: Config, batches: Sequence[LearnedBatch], summaries: Sequence[GroupSummary]) -> Costs | None:
    """What the KL to the reference takes off rewards; None where it is in the loss or nowhere."""
    objective = config.whole_objective
    if not objective.kl.in_reward:
        return None
    parts = []
    for one in batches:
        batch, measured, reference = one.batch(), one.padded("measured_logprobs"), one.padded("reference_logprobs")
        if measured is not None and reference is not None:
            parts.append(
                Measured(tuple(map(planned, one.rows)), batch.mask, batch.turns, measured, one.padded("engine_logprobs"), reference)
            )
    by_turn = config.objective.credit == "turn"
    costs: Costs = objective.kl.coefficient * cost_table(objective, parts, summaries, torch.device("cpu"), by_turn=by_turn).numpy()
    return costs


def compare_row(advantages: Check, weights: Check, row: CapsuleRow, expected: Row, place: tuple[int, int], *, spoilt: bool) -> None:
    """A row of the capsule with that of the plan."""
    nan = float("nan")
    by_turn = [nan] * len(expected.by_turn) if spoilt else expected.by_turn
    advantage = nan if spoilt else expected.advantage
    advantages.compare(f"{row.where}: advantage", row.advantage, advantage)
    advantages.compare(lambda turn: f"{row.where}: advantage of turn {turn[0] if turn else ''}", row.by_turn, by_turn)
    spread = np.full(len(row.token_ids), advantage, np.float32)
    if by_turn and len(by_turn) == len(row.spans):
        for (begin, end), of_turn in zip(row.spans, by_turn, strict=True):
            spread[begin:end] = of_turn
    advantages.compare(
        lambda token: f"{row.where}: advantage of token {token[0]}", row.advantages, np.where(row.mask, spread, np.float32(0))
    )
    weights.compare(f"{row.where}: weight", row.weight, expected.weight, tolerance=1e-12)
    whole = np.where(row.mask, np.float32(expected.weight), np.float32(0))
    scale = max(float(expected.weight), 1e-30)
    weights.compare(
        lambda token: f"{row.where}: weight of token {token[0]}, in units of the row's", row.token_weights / scale, whole / scale
    )
    sizes = [row.update, row.rank, row.first_turn, len(row.prompt_ids), len(row.prompt_ids) + len(row.token_ids)]
    wanted = [*place, expected.first_turn, expected.prompt_tokens, expected.tokens]
    names = ("update", "rank", "first turn", "prompt tokens", "tokens")
    weights.compare(lambda number: f"{row.where}: {names[number[0]]}", sizes, wanted)
    learnable = row.sampled if row.engine_logprobs is None else row.sampled & np.isfinite(row.engine_logprobs)
    weights.compare(lambda token: f"{row.where}: mask of token {token[0]}, which can be learned", row.mask, row.mask & learnable)
