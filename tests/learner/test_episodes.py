"""Tokens that the model did not sample are context: in no denominator, no advantage, no loss, no statistic, and without gradient."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.presets import PRESETS, Kl, Objective
from learner.batch.plan import plan_step
from learner.batch.recorded import Recording
from learner.loss.objective import policy_loss
from learner.loss.reductions import REDUCTIONS
from learner.mismatch.routing_watch import PassWatch
from learner.model.logprobs import token_logprobs
from learner.statistics import StepStatistics
from rollout.transcript.episode import Answer, Turn
from rollout.turns import Ask, Bounds, Play
from rollout.types import Group, GroupSummary, Response, Sampled, Verdict
from tests.learner.test_objective import CASES, golden_input
from tests.toys.batches import whole_batch
from tests.toys.holes import episode, group_of, segment, with_episodes
from tests.toys.learner import toy_group
from tests.toys.moe import moe_policy
from tests.toys.objective import BATCH, BUDGET, GOLDEN, MASK
from tests.toys.one_batch import batch_loss, one_batch, planned

# Sampled tokens: 2 + 3, then 4 in two segments; of a second prompt 1 and 6.
FIRST = group_of([episode(2, 7, 3), episode(1, 5, 1, later=[segment([8, 9], 2)])], [Verdict(reward=1.0), Verdict(reward=0.0)])
SECOND = group_of([episode(1), episode(1, 1, 1, 1, 4)], [Verdict(reward=0.5), Verdict(reward=0.25)])
WEIGHTS = {
    "token_mean": [1 / 16] * 5,
    "prompt_token_mean": [1 / 2 / 9] * 3 + [1 / 2 / 7] * 2,
    "sequence_mean": [1 / 4 / 5, 1 / 4 / 4, 1 / 4 / 4, 1 / 4, 1 / 4 / 6],
    "prompt_mean": [1 / 2 / 2 / 5, 1 / 2 / 2 / 4, 1 / 2 / 2 / 4, 1 / 2 / 2, 1 / 2 / 2 / 6],
    "sequence_sum": [1 / 4] * 5,
    "budget_mean": [1 / 4 / 50] * 5,
}


def test_a_response_says_which_tokens_it_sampled() -> None:
    response = FIRST.responses[1]
    assert response.sampled.tolist() == [True, *[False] * 5, True]
    assert (len(response), response.sampled_tokens, [len(part) for part in response.segments]) == (7, 4, [7, 2])
    plain = replace(episode(3), turns=None)
    assert plain.sampled.all()
    assert (plain.sampled_tokens, plain.spans.tolist()) == (3, [[0, 3]])
    summary = GroupSummary.of(FIRST)
    assert (summary.lengths.tolist(), summary.sampled.tolist(), summary.turns.tolist()) == ([12, 9], [5, 4], [2, 3])
    assert summary.segments_of(1) == ((3, 7, 2, 2), (2, 2, 2, 1))
    assert GroupSummary.of(SECOND).segments == ()


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_reductions_divide_by_the_tokens_that_the_model_sampled(name: str) -> None:
    plan = plan_step(
        [GroupSummary.of(FIRST), GroupSummary.of(SECOND)],
        PRESETS["grpo"].replace(reduction=name),
        updates=1,
        ranks=1,
        micro_batch_tokens=1000,
        response_tokens=50,
    )
    rows = sorted(plan.updates[0].rows, key=lambda row: (row.group, row.member, row.segment))
    assert [row.weight for row in rows] == pytest.approx(WEIGHTS[name], rel=1e-15)
    assert plan.updates[0].left_out == 0


def test_a_baseline_of_least_variance_weighs_by_sampled_tokens() -> None:
    plan = plan_step([GroupSummary.of(FIRST)], PRESETS["opo"], updates=1, ranks=1, micro_batch_tokens=1000, response_tokens=50)
    assert {row.name: row.advantage for row in plan.updates[0].rows} == pytest.approx({(0, 0): 4 / 9, (0, 1): -5 / 9, (0, 1, 1): -5 / 9})


def test_micro_batches_are_cut_by_all_tokens() -> None:
    """3 + 12, 3 + 7 and 2 + 2 tokens: a budget that only counted sampled ones would put them together."""
    cut = [
        plan_step([GroupSummary.of(FIRST)], PRESETS["grpo"], updates=1, ranks=1, micro_batch_tokens=budget, response_tokens=50, packed=True)
        for budget in (15, 25, 29)
    ]
    assert [[[row.tokens for row in part] for part in plan.of_rank(0)[0]] for plan in cut] == [
        [[15], [10, 4]],
        [[15, 10], [4]],
        [[15, 10, 4]],
    ]
    with pytest.raises(ValueError, match="has 15 tokens"):
        plan_step([GroupSummary.of(FIRST)], PRESETS["grpo"], updates=1, ranks=1, micro_batch_tokens=14, response_tokens=50)


def test_a_batch_learns_from_sampled_tokens_alone() -> None:
    spoilt = np.array(FIRST.responses[0].logprobs)
    spoilt[[1, 4]] = np.nan  # one of the model's, one of the environment's
    group = replace(FIRST, responses=(replace(FIRST.responses[0], logprobs=spoilt), FIRST.responses[1]))
    batch = one_batch([group], Objective(preset=PRESETS["grpo"]))
    assert batch.bad_logprobs == 1, "what the engine says of an environment's tokens is not looked at"
    assert [row.sum() for row in batch.mask.int()] == [4, 2, 2]
    assert batch.mask[0].tolist() == [True, *[False] * 8, *[True] * 3]
    assert batch.attention.sum(1).tolist() == [14, 9, 3], "the pass sees all tokens but the last of each row"
    assert batch.token_ids[2, batch.prompt_width - 2 : batch.prompt_width].tolist() == [8, 9], "a later segment begins with its own context"
    assert batch.engine_logprobs is not None
    for values in (batch.engine_logprobs, batch.token_weight):
        assert not values[~batch.mask].any()
    statistics = StepStatistics(torch.device("cpu"))
    statistics.add_mismatch(batch.engine_logprobs + 0.5 + 9 * ~batch.mask, batch)
    assert statistics.seen["mismatch_tokens"] == 8
    assert statistics.seen["mismatch_abs"] / 8 == pytest.approx(0.5)


def test_a_segment_travels_within_its_response() -> None:
    sampled = Sampled.of(FIRST.responses[1])
    assert sampled.segment(0) is sampled
    assert sampled.segment(1).prompt_ids is not None
    assert sampled.segment(1).token_ids.tolist() == [1, 2]
    assert FIRST.responses[0].recorded is None
    assert FIRST.responses[1].recorded == (None, None)


def golden_groups() -> list[Group]:
    """The golden batch, whose masked slots within a response are an environment's tokens."""

    def response(mask: Sequence[float]) -> Response:
        runs = "".join("1" if own else " " for own in mask).rstrip()
        lengths = [1] * len(runs) if " " not in runs else [len(part) for part in runs.replace(" ", ", ,").split(",")]
        return replace(episode(*lengths), turns=None) if " " not in runs else episode(*lengths)

    golden = GOLDEN["batch"]
    return [
        group_of(
            [response(mask) for mask, own in zip(golden["mask"], golden["group"], strict=True) if own == number],
            [Verdict(reward=reward) for reward, own in zip(golden["reward"], golden["group"], strict=True) if own == number],
        )
        for number in (0, 1)
    ]


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if isinstance(case.times, float) and case.times and not case.renormalised]
)
def test_from_rewards_to_loss_the_golden_numbers_hold_with_a_hole(name: str) -> None:
    case, groups = CASES[name], golden_groups()
    preset = case.objective.preset.replace(advantage=ADVANTAGES.get(case.advantages, case.objective.preset.advantage))
    plan = plan_step(
        [GroupSummary.of(group) for group in groups], preset, updates=1, ranks=1, micro_batch_tokens=1000, response_tokens=BUDGET
    )
    rows = sorted(plan.updates[0].rows, key=lambda row: (row.group, row.member))
    batch = whole_batch(rows, groups, 0)
    assert torch.equal(batch.mask, MASK)
    logprobs = BATCH[GOLDEN["cases"][name]["logp"]].clone().requires_grad_()
    weights = torch.tensor([row.weight for row in rows], dtype=torch.float64)[:, None] * batch.mask
    advantages = torch.tensor([row.advantage for row in rows], dtype=torch.float64)
    loss, _ = policy_loss(
        case.objective, logprobs, replace(golden_input(case), advantages=advantages, mask=batch.mask, token_weight=weights)
    )
    golden = GOLDEN["cases"][name]
    assert loss.item() == pytest.approx(golden["loss"], abs=1e-9)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    torch.testing.assert_close(gradient, torch.tensor(golden["grad"], dtype=torch.float64), atol=1e-9, rtol=0)


# The advantage by which this code names the golden ones, where the case's own preset has another.
ADVANTAGES = {"grpo_std_bessel_eps1e_6": "standardised", "mean_only": "centred"}


def changed(group: Group, seed: int) -> Group:
    """The group with other ids, and other garbage for log-probs, wherever an environment spoke."""
    rng = np.random.default_rng(seed)

    def other(part: Response) -> Response:
        ids = np.where(part.sampled, part.token_ids, (part.token_ids + rng.integers(1, 9, len(part))) % 11).astype(np.int32)
        logprobs = None if part.logprobs is None else np.where(part.sampled, part.logprobs, np.float32(np.nan))
        later = tuple(other(segment) for segment in part.later) if isinstance(part, Response) else ()  # type: ignore[arg-type]
        return replace(part, token_ids=ids, logprobs=logprobs, **({"later": later} if isinstance(part, Response) else {}))

    return replace(group, responses=tuple(map(other, group.responses)))


@pytest.mark.parametrize("name", PRESETS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=3, deadline=None)
def test_what_an_environment_said_is_in_no_loss_and_has_no_gradient(name: str, seed: int) -> None:
    """With logits that stay, since those of a model depend on all that came before."""
    objective = Objective(preset=PRESETS[name], kl=Kl(coefficient=0.1, estimator="k2"))
    group = with_episodes(toy_group(seed, members=6), seed)
    rows = planned([GroupSummary.of(group)], objective)
    if not rows:
        return
    found = []
    for version in (group, changed(group, seed)):
        batch = whole_batch(rows, [version], 0)
        logits = torch.randn(*batch.mask.shape, 11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)
        logprobs, _ = token_logprobs(logits, batch.token_ids[:, batch.prompt_width :], temperature=1.0)
        loss = batch_loss(objective, logprobs, batch, old=logprobs.detach() + 0.1, reference=logprobs.detach() - 0.3)
        found.append((loss, *torch.autograd.grad(loss, logits), batch))
    (loss, gradient, batch), (other_loss, other_gradient, other) = found
    assert loss.item() == other_loss.item()
    assert torch.equal(gradient, other_gradient)
    assert not gradient[~batch.mask].any()
    holes = batch.answers & ~batch.mask
    assert not holes.any() or not torch.equal(batch.token_ids, other.token_ids)


def test_in_a_real_model_the_log_probs_of_environment_tokens_have_a_gradient_of_exactly_zero() -> None:
    policy = moe_policy()
    objective = Objective(preset=PRESETS["grpo"])
    batch = one_batch([FIRST, SECOND], objective)
    logprobs, _ = policy(batch)
    logprobs.retain_grad()
    torch.autograd.backward(batch_loss(objective, logprobs, batch))
    gradient = logprobs.grad
    assert gradient is not None
    assert not gradient[~batch.mask].any()
    assert gradient[batch.mask & (batch.advantages[:, None] != 0)].all()


def test_the_routing_watch_counts_positions_that_predict_sampled_tokens() -> None:
    batch = one_batch([FIRST], Objective(preset=PRESETS["grpo"]))
    everywhere = Recording(experts=torch.zeros(*batch.attention.shape, 1, 2, dtype=torch.uint8), known=torch.ones_like(batch.attention))
    watch = PassWatch(batch, everywhere)
    assert watch.tokens == 9
    assert Counter(torch.nonzero(watch.counted)[:, 0].tolist()) == {0: 5, 1: 2, 2: 2}


class Spelled:
    """A token a character."""

    def of(self, words: str, role: str, last_token: int) -> list[int]:
        return [ord(letter) % 11 for letter in words]

    def context(self, messages: Sequence[Any]) -> list[int]:
        return [9, 8, 7]


async def said_by_the_engine(ask: Ask) -> Response:
    tokens = np.arange(1, 2 + ask.turn % 3, dtype=np.int32)
    return replace(episode(len(tokens)), token_ids=tokens, turns=None, logprobs=np.full(len(tokens), -0.5, np.float32), text=str(ask.turn))


def test_an_episode_that_the_engine_played_is_learned_turn_by_turn() -> None:
    answers = [Answer(words="abc"), Answer(rewritten=({"role": "user", "content": "x"},)), Answer(words="d"), Answer()]

    async def reply(turns: Sequence[Turn]) -> Answer:
        return answers[len(turns) - 1]

    def play(turns: int) -> Response:
        bounds = Bounds(turns=turns, reply=8, response=50, context=60)
        return asyncio.run(Play([1, 2], said_by_the_engine, reply, Spelled(), bounds).respond())

    group = group_of([play(9), play(1)], [Verdict(reward=1.0, turn_rewards=(0.0, 0.25, 0.0, 0.75)), Verdict(reward=0.0)], prompt=[1, 2])
    summary = GroupSummary.of(group)
    assert (summary.turns.tolist(), summary.sampled.tolist(), summary.lengths.tolist()) == ([4, 1], [1 + 2 + 3 + 1, 1], [6 + 5, 1])
    rows = planned([summary], Objective(preset=PRESETS["rloo"]), credit="turn")
    batch = whole_batch(rows, [group], 0)
    learned = {row.name: (mask.nonzero().flatten().tolist(), row.by_turn) for row, mask in zip(rows, batch.mask, strict=True)}
    assert learned == {
        (0, 0): ([0, 4, 5], (1.0, 1.0)),
        (0, 0, 1): ([0, 1, 2, 4], (0.75, 0.75)),
        (0, 1): ([0], (-1.0,)),
    }
    assert batch.bad_logprobs == 0
    contexts = {row.name: ids[: batch.prompt_width].tolist() for row, ids in zip(rows, batch.token_ids, strict=True)}
    assert contexts == {(0, 0): [0, 1, 2], (0, 0, 1): [9, 8, 7], (0, 1): [0, 1, 2]}
