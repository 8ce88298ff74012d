"""Rules about prompts: held-out correctness that falls, or does not follow, while training prompts repeat."""

import math

from cluster.health.history import Evaluation, History
from cluster.health.rule import Finding, Rule

FALL = 0.05  # of held-out correctness, at least
DEVIATIONS = 3.0  # of the difference of two evaluations: the best of several is high by chance
EVALUATIONS = 3  # a best one, and two below it
UNKNOWN = 256  # prompts of an eval set whose size is not known
EPOCHS, GAP = 3.0, 0.3  # times that each prompt came up; training rose by so much more than held-out
UNSEEN_EPOCHS = 20.0  # without any evaluation
STEPS = 10


def held_out_falls(history: History) -> Finding | None:
    """Training reward rises while held-out correctness falls, twice in a row and by more than chance: the policy fits its prompts."""
    for name, evaluations in history.evaluations.items():
        if len(evaluations) < EVALUATIONS:
            continue
        *before, last, newest = evaluations
        best = max((found for found in before if found.step), key=lambda found: found.correct, default=None)
        if best is None or newest.reward <= best.reward:
            continue
        if max(last.correct, newest.correct) < best.correct - max(FALL, _noise(history, name, best)):
            return Finding(
                f"{name} correctness fell from {best.correct:.3f} (step {best.step}) to {newest.correct:.3f} while the training reward "
                f"rose from {best.reward:.3f} to {newest.reward:.3f}",
                f"use more prompts in data.train, stop earlier with run.steps = {best.step}, or check what reward.checker accepts",
            )
    return None


def prompts_repeat(history: History) -> Finding | None:
    """Prompts came up several times, and what is learned does not carry over to held-out ones, or nobody can see whether it does."""
    if not history.prompts:
        return None
    epochs = history.step * history.config.rollout.groups_per_step / history.prompts
    began, now = history.beginning("reward/correct"), history.mean("reward/correct", STEPS)
    if epochs < EPOCHS or began is None or now is None or history.step < 2 * STEPS:
        return None
    seen = f"each of the {history.prompts} training prompts has come up {epochs:.1f} times"
    if not history.evaluations and epochs >= UNSEEN_EPOCHS and now - began >= GAP:
        return Finding(f"{seen} and nothing is held out, so nobody sees whether they are learned by heart", "set data.eval")
    for name, evaluations in history.evaluations.items():
        first, newest = evaluations[0], evaluations[-1]
        gained = newest.correct - first.correct  # less than 0 where what is learned by heart harms the rest
        if newest.step and now - began - gained >= max(GAP, _noise(history, name, first)):
            return Finding(
                f"{seen}; correctness rose from {began:.2f} to {now:.2f} on them, and from {first.correct:.2f} to {newest.correct:.2f} on "
                f"{name} prompts",
                f"use more prompts in data.train, or end the run sooner with run.steps = {newest.step}",
            )
    return None


def _noise(history: History, name: str, found: Evaluation) -> float:
    """What two evaluations of this set differ by, by chance alone."""
    share = min(max(found.correct, 0.05), 0.95)
    return DEVIATIONS * math.sqrt(2 * share * (1 - share) / history.held_out.get(name, UNKNOWN))


PROMPT_RULES = (
    Rule("held_out_falls", held_out_falls),
    Rule("prompts_repeat", prompts_repeat),
)
