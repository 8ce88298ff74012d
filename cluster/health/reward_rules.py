"""Rules about rewards and responses: nothing to learn from, a reward without correctness, truncation, held-out against training."""

from cluster.health.history import History, mean
from cluster.health.rule import Rule
from reward.shaping import SECOND

STEPS = 3  # in a row before a rule speaks
ALIKE = 0.95  # share of groups whose responses all have one reward
ALONE_STEPS = 5
MOST, NEARLY_ALL = 0.5, 0.95  # of the responses
WRONG, RIGHT = 0.02, 0.98
FALL = 0.05  # of held-out correctness: more than the noise of a few hundred prompts
PART = "reward/part/"


def no_signal(history: History) -> str | None:
    """Every group has one reward for all its responses, so every advantage is 0."""
    alike, correct = history.last("groups/no_signal", STEPS), history.last("reward/correct", STEPS)
    if alike is None or correct is None or min(alike) < ALIKE:
        return None
    if max(correct) <= WRONG:
        return _all_wrong(history)
    if min(correct) >= RIGHT:
        return f"all responses of the last {STEPS} steps are right, so there is nothing left to learn: use harder prompts in data.train"
    if history.config.objective.resolved.advantage == "whitened":
        return None  # it compares groups with each other
    return (
        f"all responses to a prompt got the same reward for {STEPS} steps, so nothing is learned: raise rollout.temperature or "
        "rollout.group_size, or choose prompts that are sometimes answered right"
    )


def _all_wrong(history: History) -> str | None:
    """The message for wrong responses only: a policy that collapsed, or one that never was right."""
    before = history.values("reward/correct")[:-STEPS]
    if before and (best := max(before)) > 2 * WRONG:
        return (
            f"all responses of the last {STEPS} steps are wrong, but correctness was {best:.3g} before: the policy collapsed; lower "
            f"learner.lr (now {history.config.learner.lr:g}) and go on from an earlier checkpoint, or start again"
        )
    truncated = history.last("length/truncated", STEPS)
    if truncated is not None and min(truncated) >= NEARLY_ALL:
        return None  # the rule about truncation names the cause
    return (
        f"all responses of the last {STEPS} steps are wrong, so nothing is learned: compare reference and response in responses/, "
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
    if shares is None or mean(shares) < MOST:
        return None
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
    """Training reward rises while held-out correctness falls: the policy fits its prompts or its checker, not the task."""
    for name, evaluations in history.evaluations.items():
        *before, newest = evaluations
        trained = [evaluation for evaluation in before if evaluation.step]
        best = max(trained, key=lambda evaluation: evaluation.correct, default=None)
        if best is not None and newest.correct < best.correct - FALL and newest.reward > best.reward:
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
