"""The objective in one's own loop is the objective of a run: golden values, and the plan of a step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.presets import CORRECTIONS, PRESETS, Kl
from configs.sections.reward import PartConfig, RewardConfig
from gatewise import InputError, objective
from learner.batch.plan import plan_step, rows_of, weigh
from learner.batch.tensors import turns_of
from learner.loss.turns import rewards_of_turns
from rollout.types import GroupSummary
from tests.learner.test_objective import CASES, golden_input
from tests.toys.batches import whole_batch
from tests.toys.holes import with_episodes
from tests.toys.learner import toy_group
from tests.toys.objective import BATCH, BUDGET, GOLDEN, GROUPS, MASK
from tests.toys.run import toy_summary

REWARDS = BATCH["reward"]
# The golden cases that are a preset, or a preset with a correction or a KL, on the golden rewards.
WHOLE = sorted(
    name
    for name, case in CASES.items()
    if (case.objective.preset in PRESETS.values() and case.objective.correction in CORRECTIONS.values())
    and isinstance(case.times, float)
    and case.times == 1.0
    and case.gamma_min is None
    and not case.renormalised
)


@pytest.mark.parametrize("name", WHOLE)
def test_rewards_masks_and_log_probs_give_the_golden_loss_and_gradient(name: str) -> None:
    case, golden = CASES[name], GOLDEN["cases"][name]
    given = golden_input(case)
    logprobs = BATCH[golden["logp"]].clone().requires_grad_()
    loss, sums = objective.loss(
        case.objective,
        logprobs,
        advantages=objective.advantages(case.objective, REWARDS, GROUPS, MASK),
        token_weights=objective.token_weights(case.objective, REWARDS, GROUPS, MASK, max_tokens=BUDGET),
        mask=MASK,
        old_logprobs=given.old_logprobs,
        engine_logprobs=given.engine_logprobs,
        reference_logprobs=given.reference_logprobs,
    )
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert loss.item() == pytest.approx(golden["loss"], abs=1e-9)
    torch.testing.assert_close(gradient, torch.tensor(golden["grad"], dtype=torch.float64), atol=1e-9, rtol=0)
    assert sums["tokens"] == MASK.sum()


def test_every_preset_but_one_is_among_the_golden_cases() -> None:
    found = {name for name, preset in PRESETS.items() if any(CASES[case].objective.preset == preset for case in WHOLE)}
    assert set(PRESETS) - found == {"cispo"}, "its golden case has other bounds than the preset"


def random_update(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, groups and mask of uneven groups in mixed order; some rewards are NaN, some rows are not learned."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat([7, 3, 11, 5], rng.integers(1, 6, 4)))
    rewards = np.where(rng.random(len(groups)) < 0.2, np.nan, rng.integers(0, 3, len(groups)) / 2)
    mask = np.arange(6) < rng.integers(0, 7, len(groups))[:, None]
    return torch.from_numpy(rewards), torch.from_numpy(groups), torch.from_numpy(mask)


@pytest.mark.parametrize("preset", PRESETS)
def test_advantages_and_token_weights_are_those_of_a_runs_plan(preset: str) -> None:
    for seed in range(8):
        rewards, groups, mask = random_update(seed)
        members = [torch.nonzero(groups == group).flatten() for group in groups.unique()]
        summaries = [
            toy_summary(place, [None if r.isnan() else float(r) for r in rewards[m]], lengths=mask[m].sum(1).tolist())
            for place, m in enumerate(members)
        ]
        planned = rows_of(weigh(summaries, PRESETS[preset], False), PRESETS[preset], 6)
        found = objective.advantages(preset, rewards, groups, mask)
        weights = objective.token_weights(preset, rewards, groups, mask, max_tokens=6)
        assert {(int(members[r.group][r.member]), r.advantage, r.weight) for r in planned} == {
            (row, float(found[row]), float(weights[row, 0])) for row in range(len(rewards)) if weights[row, 0] > 0
        }


def test_turns_have_the_advantages_of_a_runs_plan() -> None:
    group = with_episodes(toy_group(3, members=6, failing=0.2), 5)
    group = replace(group, responses=tuple(replace(response, later=()) for response in group.responses))
    turns = [response.spans for response in group.responses]
    rewards = [(*verdict.turn_rewards[: len(own) - 1], verdict.reward) for verdict, own in zip(group.verdicts, turns, strict=True)]
    verdicts = zip(group.verdicts, rewards, strict=True)
    group = replace(group, verdicts=tuple(v if v.reward is None else replace(v, turn_rewards=own) for v, own in verdicts))
    summary = GroupSummary.of(group)
    plan = plan_step([summary], PRESETS["rloo"], updates=1, ranks=1, micro_batch_tokens=999, response_tokens=9, credit="turn")
    rows = plan.updates[0].rows
    batch = whole_batch(rows, [group], 0)
    earned = torch.full((6, max(map(len, turns))), torch.nan, dtype=torch.float64)
    for member, own in enumerate(rewards_of_turns(summary, np.where(summary.aborted, np.nan, summary.rewards))):
        earned[member, : len(own)] = torch.from_numpy(own)
    of_tokens = turns_of(group.responses, 6)  # type: ignore[arg-type]
    found = objective.turn_advantages(earned, of_tokens, torch.zeros(6, dtype=torch.long))
    assert rows
    for row, values in zip(rows, batch.advantages, strict=True):
        assert found[row.member, : len(values)].float().tolist() == values.tolist()
    assert found[of_tokens < 0].eq(0).all()


def test_parts_of_the_reward_give_the_advantages_of_a_runs_plan_with_these_parts() -> None:
    config = RewardConfig(range=(-1.0, 1.0), parts={"form": PartConfig(weight=0.5), "brief": PartConfig(how="multiply")}, overlong_cache=2)
    rewards, groups, mask = random_update(3)
    scored, numbers = ~rewards.isnan(), np.random.default_rng(1).integers(0, 3, (3, len(rewards))) / 2
    form, brief, overlong = (torch.from_numpy(x).where(scored, torch.nan) for x in (numbers[0], numbers[1], -numbers[2]))
    members = [torch.nonzero(groups == group).flatten() for group in groups.unique()]
    summaries = [
        toy_summary(
            place, [None if r.isnan() else float(r) for r in rewards[m]], lengths=mask[m].sum(1).tolist(),
            parts={"form": form[m].numpy(), "brief": brief[m].numpy(), "overlong": overlong[m].numpy(), "second": -rewards[m].numpy()},
        )
        for place, m in enumerate(members)
    ]  # fmt: skip
    found = objective.advantages("gdpo", rewards, groups, mask, [(2.0, rewards * brief), (0.5, form), (1.0, overlong)])
    for group in weigh(summaries, PRESETS["gdpo"], False, config):
        assert group.advantages.tolist() == found[members[group.position]].tolist()
    assert found.isfinite().all()
    assert found[scored].any()


def test_the_losses_of_micro_batches_add_up_to_the_updates() -> None:
    whole = objective.compose("dapo", "tis", Kl(coefficient=0.1))
    advantages, weights = objective.advantages(whole, REWARDS, GROUPS, MASK), objective.token_weights(whole, REWARDS, GROUPS, MASK)

    def of(rows: slice) -> Tensor:
        return objective.loss(
            whole, BATCH["logp_new"][rows], advantages=advantages[rows], token_weights=weights[rows], mask=MASK[rows],
            old_logprobs=BATCH["logp_old"][rows], engine_logprobs=BATCH["logp_rollout"][rows], reference_logprobs=BATCH["logp_ref"][rows],
        )[0]  # fmt: skip

    torch.testing.assert_close(of(slice(0, 2)) + of(slice(2, 7)), of(slice(0, 7)))


def test_without_old_log_probs_the_policy_itself_has_sampled() -> None:
    weights = objective.token_weights("grpo", REWARDS, GROUPS, MASK)
    advantages = objective.advantages("grpo", REWARDS, GROUPS, MASK)
    loss, sums = objective.loss("grpo", BATCH["logp_new"], advantages=advantages, token_weights=weights, mask=MASK.float())
    assert sums["ratio"] == sums["tokens"]
    assert loss.item() == pytest.approx(-(advantages[:, None] * weights * MASK).sum().item())


def test_numbers_are_float32_unless_the_rewards_are_float64() -> None:
    assert objective.advantages("grpo", REWARDS.float(), GROUPS, MASK).dtype == torch.float32
    assert objective.token_weights("grpo", REWARDS.long(), GROUPS, MASK).dtype == torch.float32
    assert objective.advantages("grpo", REWARDS, GROUPS, MASK).dtype == torch.float64


def test_only_groups_whose_rewards_differ_have_a_signal() -> None:
    rewards, groups = torch.tensor([1.0, 0.0, 1.0, 1.0, float("nan"), 0.0]), torch.tensor([4, 4, 9, 9, 2, 2])
    assert objective.with_signal(rewards, groups).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: objective.compose("gpro"), 'got "gpro", needed one of grpo'),
        (lambda: objective.compose("grpo", "tsi"), 'got "tsi", needed one of none, tis'),
        (lambda: objective.compose("grpo", kl=Kl(coefficient=0.1, place="reward")), "subtract the KL from the rewards"),
        (lambda: objective.advantages("grpo", REWARDS[:3], GROUPS, MASK), r"shapes \[3\], \[7\], \[7, 5\]"),
        (lambda: objective.token_weights("dr_grpo", REWARDS, GROUPS, MASK), "give max_tokens"),
        (lambda: objective.turn_advantages(REWARDS, GROUPS[:, None], GROUPS), r"\[7\], \[7, 1\], \[7\]"),
        (lambda: objective.turn_advantages(REWARDS[:, None], GROUPS[:, None], GROUPS), "names turn 1, counted from 0, but rewards has 1"),
        (lambda: objective.advantages("grpo", REWARDS, GROUPS, MASK, [(1.0, REWARDS)]), 'or use preset "gdpo"'),
        (lambda: missing("dppo_tv"), "give engine_logprobs"),
        (lambda: missing("minirl"), "give engine_logprobs"),
        (lambda: missing(objective.compose("grpo", "tis")), "give engine_logprobs"),
        (lambda: missing(objective.compose("grpo", kl=Kl(coefficient=0.1))), "give reference_logprobs"),
    ],
)
def test_what_an_objective_lacks_is_named(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def missing(which: object) -> None:
    objective.loss(which, BATCH["logp_new"], advantages=REWARDS, token_weights=MASK.double(), mask=MASK)  # type: ignore[arg-type]
