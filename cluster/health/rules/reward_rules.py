"""Rules about rewards: nothing to tell apart, a part that replaces the task, a policy that fits its prompts."""

import math

from cluster.health.history import History, mean
from cluster.health.rule import Finding, Rule
from cluster.health.rules.remedies import lower_rate
from reward.shaping import SECOND

STEPS = 3  # in a row before a rule speaks
ALIKE = 0.95  # share of groups whose responses all have one reward
WRONG, RIGHT = 0.02, 0.98
NEARLY_ALL = 0.95  # of the responses
FAILED = 0.05  # share of responses without a reward above which nobody knows whether they are right
RESPONSES = 96  # that a verdict about all of them needs at least
ALONE_STEPS = 5
PART, LENGTH_PARTS = "reward/part/", ("overlong",)
FORMAT_STEPS, ROSE, LOW = 10, 0.2, 0.5  # a part's rise and the correctness below which it matters
LITTLE_STEPS, LITTLE = 10, 0.85  # share of groups alike
SOURCE_STEPS, SOME = 10, 0.1


def all_wrong(history: History) -> Finding | None:
    """No response is right, so no group has a signal."""
    steps = _alike_steps(history)
    correct = history.last("reward/correct", steps) if steps else None
    if correct is None or max(correct) > WRONG or _was_right(history, steps):
        return None
    truncated = history.last("length/truncated", steps)
    if truncated is not None and min(truncated) >= NEARLY_ALL:
        return None  # the rule about truncation names the cause
    return Finding(
        f"all responses of the last {steps} steps are wrong, so nothing is learned",
        "compare reference and response in responses/, correct data.reference_field or reward.checker, or start with easier prompts",
    )


def collapsed(history: History) -> Finding | None:
    """No response is right any more."""
    steps = _alike_steps(history)
    correct = history.last("reward/correct", steps) if steps else None
    if correct is None or max(correct) > WRONG or not (best := _was_right(history, steps)):
        return None
    return Finding(
        f"all responses of the last {steps} steps are wrong, but correctness was {best:.3g} before, so the policy collapsed",
        f"{lower_rate(history)} and go on from an earlier checkpoint, or start again",
    )


def all_right(history: History) -> Finding | None:
    """Every response is right: nothing is left to learn, or the checker accepts everything."""
    steps = _alike_steps(history)
    correct = history.last("reward/correct", steps) if steps else None
    if correct is None or min(correct) < RIGHT or history.failed(steps) > FAILED:
        return None
    early = history.step <= steps
    return Finding(
        f"all responses of the last {steps} steps are right, so there is nothing left to learn",
        "read a few in responses/: reward.checker may accept too much; else use harder prompts in data.train"
        if early
        else "use harder prompts in data.train, or end the run with a smaller run.steps",
    )


def all_alike(history: History) -> Finding | None:
    """Every group has one reward for all its responses, neither all right nor all wrong."""
    steps = _alike_steps(history)
    correct = history.last("reward/correct", steps) if steps else None
    if correct is None or max(correct) <= WRONG or min(correct) >= RIGHT:
        return None
    if history.config.objective.resolved.advantage in ("whitened", "decoupled"):
        return None  # these compare groups with each other, or parts whose sum may be equal
    rollout = history.config.rollout
    return Finding(
        f"all responses to a prompt got the same reward for {steps} steps, so nothing is learned",
        f"raise rollout.temperature from {rollout.temperature:g} or rollout.group_size from {rollout.group_size} to "
        f"{2 * rollout.group_size}, or choose prompts that are sometimes answered right",
    )


def little_signal(history: History) -> Finding | None:
    """Most groups teach nothing, and not because the task is learned."""
    alike, correct = history.alike(LITTLE_STEPS), history.mean("reward/correct", LITTLE_STEPS)
    if alike is None or correct is None or alike < LITTLE or history.rises() or history.config.objective.resolved.advantage == "none":
        return None
    if correct <= WRONG or correct > LOW or history.config.dynamic_sampling:
        return None  # all of them wrong has a rule of its own; most of them right is success; groups that are sampled again too
    size = history.config.rollout.group_size
    return Finding(
        f"in {alike:.0%} of the groups of the last {LITTLE_STEPS} steps all responses have one reward, at a correctness of {correct:.2f}",
        f'set rollout.dynamic_sampling = true, data.sampler = "difficulty", or rollout.group_size from {size} to {2 * size}',
    )


def part_alone(history: History) -> Finding | None:
    """Rewards differ within groups although correctness never does: a part of the reward is all that is learned."""
    alike, correct = history.last("groups/all_equal", ALONE_STEPS), history.last("reward/correct", ALONE_STEPS)
    flat = history.last("groups/no_signal", ALONE_STEPS)
    if alike is None or correct is None or flat is None or min(alike) < ALIKE or max(correct) > WRONG or min(flat) >= ALIKE:
        return None
    if not (parts := _parts(history)):
        return None
    return Finding(
        f"the reward comes from {' and '.join(parts)} alone, since correctness is 0 in the last {ALONE_STEPS} steps",
        "correct data.reference_field or reward.checker, start with easier prompts, or lower the weight in [reward.parts]",
    )


def format_learned(history: History) -> Finding | None:
    """A part of the reward rises and correctness does not."""
    began, correct = history.beginning("reward/correct"), history.mean("reward/correct", FORMAT_STEPS)
    if began is None or correct is None or history.step < 2 * FORMAT_STEPS or correct >= LOW or history.rises("reward/correct"):
        return None
    for part in _parts(history):
        first, now = history.beginning(PART + part), history.mean(PART + part, FORMAT_STEPS)
        if part not in LENGTH_PARTS and first is not None and now is not None and now - first >= ROSE:
            weight = history.config.reward.parts[part].weight if part in history.config.reward.parts else 1.0
            return Finding(
                f"the part {part} of the reward rose from {first:.2f} to {now:.2f} while correctness stays at {correct:.2f} (it began at "
                f"{began:.2f})",
                f'lower reward.parts.{part}.weight from {weight:g} to {weight / 4:g}, or set how = "multiply" so that it counts with a '
                "right answer only",
            )
    return None


def source_wrong(history: History) -> Finding | None:
    """One source of prompts is never answered right while the others are."""
    correct = history.mean("reward/correct", SOURCE_STEPS)
    for name in sorted(history.config.data.sources):
        found = history.last(f"source/{name}/correct", SOURCE_STEPS)
        if found is not None and max(found) <= WRONG and correct is not None and correct > SOME:
            return Finding(
                f"no response to prompts of data.sources.{name} was right in the last {SOURCE_STEPS} steps, where all sources together "
                f"have {correct:.2f}",
                f"set data.sources.{name}.reference_field or its checker, or lower its share",
            )
    return None


def _alike_steps(history: History) -> int:
    """The number of newest steps whose groups all have one reward, where that is enough for a verdict and a signal is needed, else 0."""
    steps = max(STEPS, math.ceil(RESPONSES / history.responses))
    alike = history.last("groups/no_signal", steps)
    return 0 if alike is None or min(alike) < ALIKE or history.config.objective.resolved.advantage == "none" else steps


def _was_right(history: History, steps: int) -> float:
    """The best correctness before the newest `steps`, or 0 if it never was above chance."""
    best = max(history.values("reward/correct")[:-steps], default=0.0)
    return best if best > 2 * WRONG else 0.0


def _parts(history: History) -> list[str]:
    return [key.removeprefix(PART) for key in history.recent[-1] if key.startswith(PART) and key != PART + SECOND]


def rejects_most(history: History) -> Finding | None:
    """Dynamic sampling throws most groups away."""
    rejected, size = history.last("groups/rejected", LITTLE_STEPS), history.config.rollout.groups_per_step
    if rejected is None or mean(rejected) < 3 * size:
        return None
    return Finding(
        f"dynamic sampling rejected {mean(rejected):.0f} groups a step for {size} that it kept, over the last {LITTLE_STEPS} steps",
        'set data.sampler = "difficulty", which draws prompts with mixed results, or choose easier or harder prompts',
    )


SIGNAL_RULES = (
    Rule("all_wrong", all_wrong),
    Rule("source_wrong", source_wrong),
    Rule("all_right", all_right),
    Rule("part_alone", part_alone),
    Rule("format_learned", format_learned),
    Rule("all_alike", all_alike),
    Rule("little_signal", little_signal),
    Rule("rejects_most", rejects_most),
)
COLLAPSED = Rule("collapsed", collapsed)
