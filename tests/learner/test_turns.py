"""Credit by turn: hand-written advantages, the exact gradient in expectation, and members that fail."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.presets import PRESETS
from configs.schema import Config
from learner.batch.plan import plan_step
from learner.batch.row import Row
from learner.loss.advantages import ADVANTAGES, leave_one_out
from learner.loss.parts import worth_learning
from learner.loss.reductions import REDUCTIONS
from learner.loss.turns import advantages_of_turns, rewards_of_turns, turns_differ
from rollout.types import Group, GroupSummary, Outcome, Verdict
from tests.toys.holes import episode, group_of, segment, with_episodes
from tests.toys.learner import toy_group

RLOO = PRESETS["rloo"]
NAN = float("nan")
FAILED = Verdict.failed(Outcome.CRASHED, "it broke")


def rows_of(group: Group, **more: object) -> tuple[Row, ...]:
    plan = plan_step(
        [GroupSummary.of(group)], RLOO, updates=1, ranks=1, micro_batch_tokens=10_000, response_tokens=99, credit="turn", **more
    )
    return plan.updates[0].rows


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([[1.0], [0.0]], [[1.0], [-1.0]]),
        ([[1.0], [0.0], [0.0]], [[1.0], [-0.5], [-0.5]]),
        ([[0.25, 0.5], [0.25, 0.0]], [[0.5, 0.5], [-0.5, -0.5]]),  # equal where both earned the same, if only by what remained
        ([[0.0, 1.0], [1.0]], [[0.0, 1.0], [0.0]]),  # nobody else reached turn 1: its baseline is 0
        ([[0.5, 0.25, 0.25], [0.0, 0.25], [1.0]], [[1 - 0.625, 0.5 - 0.25, 0.25], [0.25 - 1, 0.25 - 0.5], [1 - 0.625]]),
        ([[0.5, 0.5], [1.0, 0.0], [NAN, NAN, NAN]], [[0.0, 0.5], [0.0, -0.5], [0, 0, 0]]),
        ([[0.5, 0.5], [NAN], [NAN]], [[0.0, 0.0], [0.0], [0.0]]),  # a lone scored response teaches nothing
        ([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]], [[0, 0], [0, 0], [0, 0]]),
        ([[], [1.0]], [[], [0.0]]),
        ([], []),
    ],
)
def test_a_turn_is_compared_with_the_others_that_reached_it(rewards: list[list[float]], expected: list[list[float]]) -> None:
    got = advantages_of_turns([np.array(values, np.float64) for values in rewards])
    assert [values.tolist() for values in got] == [pytest.approx(values, abs=1e-15) for values in expected]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, NAN]), min_size=1, max_size=6))
@settings(max_examples=30)
def test_with_one_turn_each_it_is_leave_one_out_bit_for_bit(rewards: list[float]) -> None:
    got = advantages_of_turns([np.array([reward]) for reward in rewards])
    assert np.concatenate(got).tolist() == leave_one_out([np.array(rewards)], [])[0].tolist()


def test_what_turns_do_not_say_of_the_reward_is_the_last_turns() -> None:
    said = Verdict(reward=0.75, turn_rewards=(0.25, 0.5))
    group = group_of([episode(1, 1, 1), episode(1, 1, 1, 1, 1), episode(1, 1, 1)], [said, Verdict(reward=1.0), FAILED])
    summary = GroupSummary.of(group)
    penalised = summary.rewards - np.array([0.5, 0.0, 0.0])  # a penalty of the whole response
    got = [values.tolist() for values in rewards_of_turns(summary, penalised)]
    assert got[:2] == [[0.25, 0.0], [0.0, 0.0, 1.0]]
    assert np.isnan(got[2]).all()
    assert len(got[2]) == 2


def test_a_verdict_needs_a_reward_for_every_turn() -> None:
    with pytest.raises(ValueError, match="has 2 turns, but its verdict has 3 rewards"):
        GroupSummary.of(group_of([episode(1, 1, 1)], [Verdict(reward=1.0, turn_rewards=(0.0, 0.0, 1.0))]))


def test_segments_share_the_turns_of_their_episode() -> None:
    parts = [segment([7, 8], 2, 1, 2), segment([9], 1)]
    long = episode(1, 2, 1, later=parts)
    group = group_of([long, episode(3)], [Verdict(reward=1.0, turn_rewards=(0.0, 0.25, 0.25, 0.5, 0.0)), Verdict(reward=0.5)])
    rows = {row.name: row for row in rows_of(group)}
    assert {name: (row.first_turn, row.by_turn) for name, row in rows.items()} == {
        (0, 0): (0, (0.5, 1.0)),
        (0, 0, 1): (2, (0.75, 0.5)),
        (0, 0, 2): (4, (0.0,)),
        (0, 1): (0, (-0.5,)),
    }
    assert {(row.prompt_tokens, row.tokens) for row in rows.values()} == {(3, 7), (2, 7), (1, 2), (3, 6)}
    assert {row.weight for row in rows.values()} == {0.5}


# A world of three turns and two actions. What it pays depends on every action before, and it may end early.
PAID = np.random.default_rng(3).normal(size=(3, 2, 2, 2))
ENDS = {"never": (), "early": ((1,), (0, 1))}


def histories(ends: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    """The actions of every episode that there is."""
    cut = {tuple(next((whole[:k] for k in (1, 2) if whole[:k] in ends), whole)) for whole in product((0, 1), repeat=3)}
    return sorted(cut)


def score(logits: dict[tuple[int, ...], float], actions: tuple[int, ...]) -> list[dict[tuple[int, ...], float]]:
    """The gradient of each action's log-prob, as one number for the state that it was taken in."""
    return [{actions[:k]: action - 1 / (1 + np.exp(-logits[actions[:k]]))} for k, action in enumerate(actions)]


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_the_expected_gradient_is_exactly_that_of_the_expected_reward(ends: tuple[tuple[int, ...], ...]) -> None:
    found, members = histories(ends), 3
    states = sorted({actions[:k] for actions in found for k in range(len(actions))})
    logits = dict(zip(states, np.random.default_rng(5).normal(size=len(states)).tolist(), strict=True))
    chance = {}
    for actions in found:
        ups = [1 / (1 + np.exp(-logits[actions[:k]])) for k in range(len(actions))]
        chance[actions] = np.prod([up if action else 1 - up for up, action in zip(ups, actions, strict=True)])
    assert sum(chance.values()) == pytest.approx(1)
    earned = {actions: [float(PAID[(k, *actions[: k + 1], *(0,) * (2 - k))]) for k in range(len(actions))] for actions in found}

    expected = dict.fromkeys(states, 0.0)
    for actions in found:
        for slope in score(logits, actions):
            for state, value in slope.items():
                expected[state] += chance[actions] * sum(earned[actions]) * value

    got = dict.fromkeys(states, 0.0)
    for sampled in product(found, repeat=members):
        verdicts = [Verdict(reward=sum(earned[actions]), turn_rewards=tuple(earned[actions])) for actions in sampled]
        responses = [episode(*(1,) * (2 * len(actions) - 1)) for actions in sampled]
        for row in rows_of(group_of(responses, verdicts)):
            for advantage, slope in zip(row.by_turn, score(logits, sampled[row.member]), strict=True):
                for state, value in slope.items():
                    got[state] += np.prod([chance[actions] for actions in sampled]) * row.weight * advantage * value
    assert max(map(abs, expected.values())) > 0.1, "a gradient of nothing would agree with anything"
    assert [got[state] for state in states] == pytest.approx([expected[state] for state in states], abs=1e-9)


def without(group: Group, broken: set[int]) -> Group:
    kept = [member for member in range(len(group.responses)) if member not in broken]
    return replace(group, responses=tuple(group.responses[m] for m in kept), verdicts=tuple(group.verdicts[m] for m in kept))


@pytest.mark.parametrize(("name", "reduction"), [*zip([*ADVANTAGES, "by turn"], cycle(REDUCTIONS), strict=False)])
@given(seed=st.integers(0, 10_000), broken=st.sets(st.integers(0, 4), max_size=4))
@settings(max_examples=8, deadline=None)
def test_failed_members_leave_the_others_as_if_they_had_never_been_sampled(name: str, reduction: str, seed: int, broken: set[int]) -> None:
    credit = "turn" if name == "by turn" else "whole"
    preset = RLOO.replace(advantage="leave_one_out" if name == "by turn" else name, reduction=reduction)
    whole = [with_episodes(toy_group(seed + i, members=5), seed + i) for i in range(2)]
    damaged = [
        replace(group, verdicts=tuple(FAILED if member in broken else verdict for member, verdict in enumerate(group.verdicts)))
        for group in whole
    ]
    learned, expected = (
        plan_step(
            [GroupSummary.of(group) for group in groups],
            preset,
            updates=1,
            ranks=1,
            micro_batch_tokens=1000,
            response_tokens=99,
            credit=credit,
        ).updates[0]
        for groups in (damaged, [without(group, broken) for group in whole])
    )
    kept = [member for member in range(5) if member not in broken]
    moved = [row._replace(member=kept[row.member]) for row in expected.rows]

    def listed(rows: Sequence[Row]) -> list[Row]:
        return sorted(rows, key=lambda row: (row.group, row.member, row.segment))

    for ours, theirs in zip(listed(learned.rows), listed(moved), strict=True):
        # Whitening adds up a failed member's 0 too, which may round the last digit otherwise.
        assert ours.advantage == pytest.approx(theirs.advantage, rel=1e-12, abs=1e-15)
        assert ours._replace(advantage=theirs.advantage) == theirs
    assert learned.left_out == expected.left_out + 2 * len(broken)


def test_a_turn_that_one_alone_reached_compares_nothing() -> None:
    assert turns_differ([np.array([0.5, 0.5]), np.array([1.0, 0.0])])
    assert not turns_differ([np.array([0.0, 1.0]), np.array([1.0])])
    assert not turns_differ([np.array([NAN, NAN]), np.array([1.0, 0.0])])


@pytest.mark.parametrize(
    ("credit", "rewards", "penalties", "accepted"),
    [
        ("turn", [(0.5, 0.5), (1.0, 0.0)], [0.0, 0.0], True),  # as right at the end, and one of them later
        ("whole", [(0.5, 0.5), (1.0, 0.0)], [0.0, 0.0], False),
        ("turn", [(0.5, 0.5), (0.5, 0.5)], [0.0, 0.0], False),
        ("turn", [(0.5, 0.5), (0.5, 0.5)], [0.0, -0.4], False),  # a penalty alone teaches nothing
        ("turn", [(0.5, 0.5), (0.5, 0.0)], [0.0, 0.5], True),  # nor does it hide what was earned
    ],
)
def test_dynamic_sampling_sees_what_was_earned_on_the_way(
    credit: str, rewards: list[tuple[float, ...]], penalties: list[float], accepted: bool, tmp_path: Path
) -> None:
    verdicts = [
        Verdict(reward=sum(own) + penalty, turn_rewards=(*own[:-1], own[-1] + penalty), parts={"correct": sum(own), "overlong": penalty})
        for own, penalty in zip(rewards, penalties, strict=True)
    ]
    summary = GroupSummary.of(group_of([episode(1, 1, 1)] * 2, verdicts))
    config = Config.model_validate(
        {
            "model": {"path": "m"},
            "data": {"train": "t"},
            "run": {"dir": str(tmp_path)},
            "objective": {"preset": "rloo", "credit": credit},
            "reward": {"range": [0.0, 1.0]},
        }
    )
    assert worth_learning(config, summary) is accepted
