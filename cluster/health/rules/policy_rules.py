"""Rules about the policy's course: a reward that falls, an entropy that vanishes or explodes."""

import math
from statistics import median, pvariance

from cluster.health.history import History, known, mean
from cluster.health.rule import Finding, Rule
from cluster.health.rules.remedies import lower_rate

ALIKE = 0.95  # share of groups without signal: the rules about rewards name such a collapse
WINDOW = 8  # steps of mean reward
KEPT = 0.6  # share of the best reward, above the least one seen, below which the reward has fallen
LEFT = 0.4  # the same, of the first step's reward
CALM = 5  # steps after the first one
NOISE = 3.0  # standard errors
SPIKE = 5.0  # times the usual gradient norm
ENTROPY_STEPS, VANISHED, NEARLY_BEST = 10, 0.1, 0.9
SAME = 0.75  # share of groups alike, above which the policy has nothing left to compare
HOT_STEPS, GROWN, HOT = 3, 2.0, 0.5  # steps, times the start's entropy, and nats above it


def reward_falls(history: History) -> Finding | None:
    """The reward lost a large part of what it had reached, or of what the first step had, by more than noise."""
    if (history.now("groups/no_signal") or 0.0) >= ALIKE:
        return None
    return _falls_from_best(history) or _falls_from_start(history)


def _falls_from_best(history: History) -> Finding | None:
    rewards, lowest = history.values("reward/mean"), history.values("reward/min")
    if len(rewards) < 2 * WINDOW or not lowest:
        return None
    newest, earlier = rewards[-WINDOW:], rewards[:-WINDOW]
    windows = [earlier[end - WINDOW : end] for end in range(WINDOW, len(earlier) + 1)]
    best = max(windows, key=mean)
    noise = math.sqrt((pvariance(best) + pvariance(newest)) / WINDOW)
    fall, floor = mean(best) - mean(newest), min(lowest)
    if mean(newest) - floor >= KEPT * (mean(best) - floor) or fall <= NOISE * noise:
        return None
    return Finding(
        f"the reward fell from {mean(best):.3f} to {mean(newest):.3f} (means of {WINDOW} steps){_gradients(history)}",
        f'{lower_rate(history)} and go on from a checkpoint before the fall, or set kl.reference = "initial" and kl.coefficient = 0.001',
    )


def _falls_from_start(history: History) -> Finding | None:
    """A policy that the very first updates spoil has no good steps to compare with but the first."""
    start, spread = (history.first[0].get(key) for key in ("reward/mean", "reward/std"))
    newest, lowest = history.last("reward/mean", CALM), history.values("reward/min")
    if start is None or spread is None or newest is None or not lowest or history.step <= CALM:
        return None
    noise, floor = spread / math.sqrt(history.config.rollout.groups_per_step), min(lowest)
    if mean(newest) - floor >= LEFT * (start - floor) or not start - mean(newest) > (1 + NOISE) * noise:
        return None
    return Finding(
        f"the reward fell from {start:.3f} in step 1 to {mean(newest):.3f} (mean of the last {CALM} steps)",
        f"{lower_rate(history)} and start again",
    )


def _gradients(history: History) -> str:
    """Whether large gradients came with the fall, in words; empty if not."""
    norms, limit = history.values("grad_norm"), history.config.learner.max_grad_norm
    if len(norms) < 2 * WINDOW:
        return ""
    usual, largest = median(norms), max(norms[-2 * WINDOW :])
    if largest > SPIKE * usual > 0:
        return f" after a gradient norm of {largest:.3g}, where {usual:.3g} is usual"
    if all(norm > limit for norm in norms[-WINDOW:]):
        return f" while every gradient was clipped to learner.max_grad_norm ({limit:g})"
    return ""


def entropy_vanishes(history: History) -> Finding | None:
    """The policy no longer explores: responses to one prompt are alike, and the reward has stopped below what single responses reach.

    A policy that has nearly learned its task loses its entropy too; its groups still differ, or its reward is close to the best.
    """
    began, now = history.beginning("entropy"), history.mean("entropy", ENTROPY_STEPS)
    rewards, best, alike = history.last("reward/mean", 2 * ENTROPY_STEPS), history.values("reward/max"), history.alike(ENTROPY_STEPS)
    if began is None or now is None or rewards is None or not best or alike is None or began <= 0:
        return None
    newest, earlier = mean(rewards[ENTROPY_STEPS:]), mean(rewards[:ENTROPY_STEPS])
    floor = min(history.values("reward/min"), default=0.0)
    reached = newest - floor >= NEARLY_BEST * (max(best) - floor)
    if now >= VANISHED * began or newest > earlier + _noise(rewards) or reached or alike < SAME:
        return None
    return Finding(
        f"entropy fell from {began:.3g} to {now:.2g} nats a token, {alike:.0%} of the groups have one reward, and the reward no longer "
        f"rises ({newest:.3f})",
        f"raise objective.clip_high to 0.28 or rollout.temperature, set entropy.target = {began / 2:.1g}, or {lower_rate(history)}",
    )


def _noise(rewards: list[float]) -> float:
    return math.sqrt(pvariance(rewards[ENTROPY_STEPS:]) / ENTROPY_STEPS)


def entropy_explodes(history: History) -> Finding | None:
    """The entropy bonus makes the policy random, which can take fewer steps than a usual start has."""
    began, now, entropy = history.first[0].get("entropy"), history.mean("entropy", HOT_STEPS), history.config.entropy
    if not entropy.in_use or not known(began) or began is None or now is None or now < max(GROWN * began, began + HOT) or history.rises():
        return None
    key = "entropy.largest" if entropy.target is not None else "entropy.coefficient"
    value = entropy.largest if entropy.target is not None else entropy.coefficient
    return Finding(
        f"entropy rose from {began:.3g} to {now:.3g} nats a token and the reward does not rise",
        f"lower {key} from {value:g} to {value / 10:.1g}",
    )


HOT_POLICY = Rule("entropy_explodes", entropy_explodes)
POLICY_RULES = (
    Rule("reward_falls", reward_falls),
    Rule("entropy_vanishes", entropy_vanishes),
)
