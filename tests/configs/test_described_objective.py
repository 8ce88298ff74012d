"""What `validate` says of a pull, a bonus and a schedule before any GPU is held."""

import re

import pytest

from configs.arithmetic import describe_objective
from tests.configs.test_configs import config_with, sole_refusal

PULL = "kl.coefficient=0.04 kl.reference=initial"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (f"{PULL} kl.estimator=k3", 'the slope of k3 in the loss has no bound: .* use kl.estimator = "ratio_k3"'),
        (f"{PULL} objective.advantage=none rollout.group_size=1", "the policy learns from the reference alone"),
        ("objective.advantage=leave_one_out objective.credit=turn", "credit by turn: what a response earned from a turn on is compared"),
        ("entropy.coefficient=0.01", "entropy bonus: 0.01, fixed: it pushes up without end"),
        ("entropy.target=0.2", "entropy bonus: from 0, ± 0.005 a step towards an entropy of 0.2, at most 1"),
        ("learner.schedule=cosine learner.min_lr=1e-7", r"learning rate: cosine from \S+ to 1e-07 at step \d+ \(run.steps\)"),
    ],
)
def test_it_is_said_once_and_only_then(overrides: str, said: str) -> None:
    lines = describe_objective(config_with(*overrides.split()))
    assert len([line for line in lines if re.search(said, line)]) == 1
    assert not any(re.search(said, line) for line in describe_objective(config_with()))


def test_a_clamped_k3_or_one_in_the_reward_is_not_warned_of() -> None:
    for given in ("kl.estimator=k3_clamped", "kl.estimator=k3 kl.place=reward objective.advantage=centred"):
        assert not any("slope" in line for line in describe_objective(config_with(*PULL.split(), *given.split())))


@pytest.mark.parametrize(
    ("overrides", "key", "said"),
    [
        ("learner.schedule=linear learner.min_lr=0.5", "learner.min_lr", "got 0.5, needed at most learner.lr"),
        ("learner.schedule=cosine learner.warmup_updates=999", "learner.warmup_updates", "got 999, but the run has "),
    ],
)
def test_a_schedule_without_room_to_fall_is_refused(overrides: str, key: str, said: str) -> None:
    line = sole_refusal(*overrides.split())
    assert f"{key}: {said}" in line
