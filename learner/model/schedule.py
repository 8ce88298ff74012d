"""The learning rate of every update: a warm-up counted in updates, then a schedule over the steps of the run.

It follows from the config and two counters alone, so a resumed run has exactly the rate of a run that never stopped, also where
`run.steps` was changed. An own scheduler object would keep a second counter that could disagree with them.
"""

from collections.abc import Callable
from math import ceil, cos, pi

from configs.sections.learner import LearnerConfig

# The share of the way from `lr` down to `min_lr` that is left after a share of the steps.
LEFT: dict[str, Callable[[float], float]] = {
    "constant": lambda passed: 1.0,
    "linear": lambda passed: 1.0 - passed,
    "cosine": lambda passed: (1.0 + cos(pi * passed)) / 2,
}


def learning_rate(learner: LearnerConfig, *, steps: int, step: int, updates: int) -> float:
    """The rate in step `step` (from 0) of `steps`, where `updates` updates are made or being made.

    The decay starts in the step after the warm-up. As in transformers' schedules the first step of it has the whole rate, and `min_lr`
    would be that of step `steps`.
    """
    warm = min(1.0, max(1, updates) / max(1, learner.warmup_updates))
    if learner.schedule == "constant":
        return float(learner.lr) * warm
    first = warmup_steps(learner)
    passed = min(1.0, max(0, step - first) / max(1, steps - first))
    lowest = float(learner.min_lr)
    return (lowest + (float(learner.lr) - lowest) * LEFT[learner.schedule](passed)) * warm


def warmup_steps(learner: LearnerConfig) -> int:
    """The steps that the warm-up takes where every update is made."""
    return ceil(learner.warmup_updates / learner.updates_per_step)
