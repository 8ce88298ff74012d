"""The learning rate by step and update, against the schedules of transformers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from configs.sections.learner import LearnerConfig
from learner.model.schedule import learning_rate

LIBRARY: dict[str, Callable[..., Any]] = {
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
}


def rates(learner: LearnerConfig, steps: int, first: int = 0) -> list[float]:
    """The rate of the last update of every step from `first` on, where every update is made."""
    return [learning_rate(learner, steps=steps, step=step, updates=(step + 1) * learner.updates_per_step) for step in range(first, steps)]


@pytest.mark.parametrize("name", LIBRARY)
@pytest.mark.parametrize("warmup", [0, 3])
def test_a_schedule_is_that_of_transformers_after_the_warm_up(name: str, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    theirs = LIBRARY[name](optimizer, num_warmup_steps=warmup, num_training_steps=12).lr_lambdas[0]
    ours = rates(LearnerConfig.model_validate({"lr": 1e-3, "schedule": name, "warmup_updates": warmup}), 12)
    assert ours[warmup:] == pytest.approx([1e-3 * theirs(step) for step in range(warmup, 12)], rel=1e-12)
    assert ours[:warmup] == pytest.approx([1e-3 * (step + 1) / 3 for step in range(warmup)])


def test_a_cosine_ends_at_the_lowest_rate_and_is_half_way_in_the_middle() -> None:
    learner = LearnerConfig(lr=1e-3, min_lr=1e-4, schedule="cosine")
    assert learning_rate(learner, steps=10, step=0, updates=1) == 1e-3
    assert learning_rate(learner, steps=10, step=5, updates=6) == pytest.approx(5.5e-4)
    assert learning_rate(learner, steps=10, step=9, updates=10) == pytest.approx(1e-4 + 9e-4 * (1 + math.cos(0.9 * math.pi)) / 2)
    assert learning_rate(learner, steps=10, step=12, updates=10) == 1e-4, "a run that goes on stays there"


def test_updates_of_a_step_share_its_rate_but_in_the_warm_up() -> None:
    learner = LearnerConfig(lr=1.0, schedule="linear", warmup_updates=4, updates_per_step=2)
    rate = [learning_rate(learner, steps=6, step=done // 2, updates=done + 1) for done in range(12)]
    assert rate == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])


def test_a_resumed_run_has_the_rates_of_its_own_number_of_steps() -> None:
    learner = LearnerConfig(lr=1e-3, schedule="cosine", warmup_updates=2)
    assert rates(learner, 20, first=8) == rates(learner, 20)[8:]


def test_a_constant_rate_is_bit_for_bit_the_warm_up_alone() -> None:
    learner = LearnerConfig(lr=3e-4, warmup_updates=7)
    assert [learning_rate(learner, steps=1, step=n, updates=n) for n in range(10)] == [3e-4 * min(1.0, max(1, n) / 7) for n in range(10)]
