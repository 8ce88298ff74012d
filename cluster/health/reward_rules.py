"""Rules about rewards and responses: nothing to learn from, a reward without correctness, truncation, held-out against training."""

import math

from cluster.health.history import History, mean
from cluster.health.rule import Rule
from reward.shaping import SECOND

STEPS = 3  # in a row before a rule speaks
ALIKE = 0.95  # share of groups whose responses all have one reward
ALONE_STEPS = 5
MOST, NEARLY_ALL = 0.5, 0.95  # of the responses
WRONG, RIGHT = 0.02, 0.98
FAILED = 0.05  # share of responses without a reward above which nobody knows whether they are right
RESPONSES = 96  # that a verdict about all of them needs at least
FALL = 0.05  # of held-out correctness, at least
DEVIATIONS = 3.0  # of the difference of two evaluations: the best of several is high by chance
EVALUATIONS = 3  # a best one, and two below it
UNKNOWN = 256  # prompts of an eval set whose size is not known
PART = "reward/part/"


def no_signal(history: History) -> str | None:
    """Every group has one reward for all its responses, so every advantage is 0."""
    rollout = history.config.rollout
    steps = max(STEPS, math.ceil(RESPONSES / (rollout.groups_per_step * rollout.group_size)))
    alike, correct = history.last("groups/no_signal", steps), history.last("reward/correct", steps)
    if alike is None or correct is None or min(alike) < ALIKE or history.config.objective.resolved.advantage == "none":
        return None
    if max(correct) <= WRONG:
        return _all_wrong(history, steps)
    if min(correct) >= RIGHT:
        if history.failed(steps) > FAILED:
            return None  # what failed is not right; its own warning says what to do
        return f"all responses of the last {steps} steps are right, so there is nothing left to learn: use harder prompts in data.train"
    if history.config.objective.resolved.advantage in ("whitened", "decoupled"):
        return None  # these compare groups with each other, or parts whose sum may be equal
    return (
        f"all responses to a prompt got the same reward for {steps} steps, so nothing is learned: raise rollout.temperature or "
        "rollout.group_size, or choose prompts that are sometimes answered right"
    )


def _all_wrong(history: History, steps: int) -> str | None:
    """The message for wrong responses only: a policy that collapsed, or one that never was right."""
    before = history.values("reward/correct")[:-steps]
    if before and (best := max(before)) > 2 * WRONG:
        return (
            f"all responses of the last {steps} steps are wrong, but correctness was {best:.3g} before: the policy collapsed; lower "
            f"learner.lr (now {history.config.learner.lr:g}) and go on from an earlier checkpoint, or start again"
        )
    truncated = history.last("length/truncated", steps)
    if truncated is not None and min(truncated) >= NEARLY_ALL:
        return None  # the rule about truncation names the cause
    return (
        f"all responses of the last {steps} steps are wrong, so nothing is learned: compare reference and response in responses/, "
        "correct data.reference_field or reward.checker, or start with easier prompts"
    )


def part_alone(history: History) -> str | None:
    """Rewards differ within groups although correctness never does: a part of the reward is all that is learned."""
    alike, correct = history.last("groups/all_equal", ALONE_STEPS), history.last("reward/correct", ALONE_STEPS)
    flat = history.last("groups/no_signal", ALONE_STEPS)
    if alike is None or correct is None or flat is None or min(alike) < ALIKE or max(correct) > WRONG or min(flat) >= ALIKE:
        return None
    parts = [key.removeprefix(PART) for key in history.recent[-1] if key.startswith(PART) and key != PART + SECOND]
    if not parts:
        return None
    return (
        f"the reward comes from {' and '.join(parts)} alone: correctness is 0 in the last {ALONE_STEPS} steps; correct "
        "data.reference_field or reward.checker, start with easier prompts, or lower the weight in [reward.parts]"
    )


def truncated(history: History) -> str | None:
    """Most responses end at the token limit instead of at a stop token."""
    shares = history.last("length/truncated", STEPS)
    if shares is None or mean(shares) < MOST or mean(history.last("turns/exhausted", STEPS) or [0.0]) >= MOST:
        return None  # that most episodes are out of turns has a rule of its own
    whole = "all" if min(shares) >= NEARLY_ALL else f"{mean(shares):.0%} of the"
    limit = history.config.rollout.max_response_tokens
    began = history.first[0].get("length/truncated")
    if began is not None and began < MOST / 2:
        return (
            f"{whole} responses of the last {STEPS} steps are cut off at rollout.max_response_tokens ({limit}), up from {began:.0%} at "
            "the start: raise it, punish length with reward.overlong_cache, or lower learner.lr if the reward fell too"
        )
    return (
        f"{whole} responses of the last {STEPS} steps are cut off at rollout.max_response_tokens ({limit}): raise it, or check that the "
        "prompt's template lets the model end its answer"
    )


def held_out_falls(history: History) -> str | None:
    """Training reward rises while held-out correctness falls, twice in a row and by more than chance: the policy fits its prompts."""
    for name, evaluations in history.evaluations.items():
        if len(evaluations) < EVALUATIONS:
            continue
        *before, last, newest = evaluations
        best = max((found for found in before if found.step), key=lambda found: found.correct, default=None)
        if best is None or newest.reward <= best.reward:
            continue
        share = min(max(best.correct, 0.05), 0.95)
        noise = DEVIATIONS * math.sqrt(2 * share * (1 - share) / history.held_out.get(name, UNKNOWN))
        if max(last.correct, newest.correct) < best.correct - max(FALL, noise):
            return (
                f"{name} correctness fell from {best.correct:.3f} (step {best.step}) to {newest.correct:.3f} while the training reward "
                f"rose from {best.reward:.3f} to {newest.reward:.3f}: use more prompts in data.train, stop earlier with run.steps, or "
                "check what reward.checker accepts"
            )
    return None


REWARD_RULES = (
    Rule("no_signal", no_signal),
    Rule("part_alone", part_alone),
    Rule("truncated", truncated),
    Rule("held_out_falls", held_out_falls),
)
