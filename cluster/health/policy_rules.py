"""Rules about updates: none made, too large, clipped too often, a reward that falls, an entropy that vanishes, a mismatch that jumps."""

import math
from itertools import pairwise
from statistics import median, pvariance

from cluster.health.history import History, mean
from cluster.health.rule import Rule

STEPS = 3  # in a row before a rule speaks
ALIKE = 0.95  # share of groups without signal from which a gradient of 0 is no surprise
FAR_AT_ONCE, FAR = 0.5, 0.05  # nats a token that one step's updates moved the policy: in one step, and as a mean of STEPS
CLIP_STEPS, CLIPPED = 5, 0.3  # share of tokens
WINDOW = 8  # steps of mean reward
KEPT = 0.6  # share of the best reward, above the least one seen, below which the reward has fallen
LEFT = 0.4  # the same, of the first step's reward
NOISE = 3.0  # standard errors
SPIKE = 5.0  # times the usual gradient norm
ENTROPY_STEPS, VANISHED, NEARLY_BEST = 10, 0.1, 0.9
CALM, JUMP, VISIBLE = 5, 5.0, 0.01  # steps; times their median; nats a token


def not_learning(history: History) -> str | None:
    """The weights stand still although groups have a signal: updates are dropped or empty, or the gradient is 0."""
    skipped = history.last("updates_skipped", STEPS + 1)
    if skipped is not None and all(later > earlier for earlier, later in pairwise(skipped)):
        return (
            f"updates were dropped in each of the last {STEPS} steps because gradients were not finite: lower learner.lr "
            f'(now {history.config.learner.lr:g}), or set model.dtype = "bfloat16" or "float32"'
        )
    learned = history.last("learned_tokens", STEPS)
    if learned is not None and not any(learned):
        return (
            f"no response of the last {STEPS} steps was learned (responses_left_out counts them): see the failures in responses/, and "
            "raise rollout.max_response_tokens if over-long responses are filtered"
        )
    norms, alike = history.last("grad_norm", STEPS), history.last("groups/no_signal", STEPS)
    if norms is None or any(norms) or alike is None or max(alike) >= ALIKE:
        return None
    return (
        f"the gradient was 0 in the last {STEPS} steps although rewards differ: check objective.* and correction.* for a setting that "
        "clips or masks every token (clip/*, correction/masked)"
    )


def moved_far(history: History) -> str | None:
    """The updates of one step moved the policy too far from the one that sampled."""
    now, newest = history.now("policy_kl"), history.last("policy_kl", STEPS)
    if now is not None and now > FAR_AT_ONCE:
        seen = f"one step moved the policy by {now:.2g} nats a token (policy_kl)"
    elif newest is not None and mean(newest) > FAR:
        seen = f"each of the last {STEPS} steps moved the policy by {mean(newest):.2g} nats a token (policy_kl)"
    else:
        return None
    learner = history.config.learner
    return (
        f"{seen}, usual is below 0.01: lower learner.lr (now {learner.lr:g}) or learner.updates_per_step (now {learner.updates_per_step})"
    )


def clipped(history: History) -> str | None:
    """The clip cuts a large share of tokens, with ratios of single tokens; sequence ratios clip whole responses by design."""
    low, high = history.last("clip/low", CLIP_STEPS), history.last("clip/high", CLIP_STEPS)
    if low is None or high is None or history.config.objective.resolved.ratio != "token":
        return None
    share = mean(low) + mean(high)
    if share <= CLIPPED:
        return None
    return (
        f"the clip cut {share:.0%} of the tokens in the last {CLIP_STEPS} steps, usual is below 5%: lower learner.lr "
        f"(now {history.config.learner.lr:g}) or learner.updates_per_step, or widen objective.clip_low and objective.clip_high"
    )


def reward_falls(history: History) -> str | None:
    """The reward lost a large part of what it had reached, or of what the first step had, by more than noise."""
    if (history.now("groups/no_signal") or 0.0) >= ALIKE:
        return None  # the rule about groups without signal names the collapse
    return _falls_from_best(history) or _falls_from_start(history)


def _falls_from_best(history: History) -> str | None:
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
    return (
        f"the reward fell from {mean(best):.3f} to {mean(newest):.3f} (means of {WINDOW} steps){_gradients(history)}: lower learner.lr "
        f"(now {history.config.learner.lr:g}) and go on from a checkpoint before the fall, or set kl.reference and kl.coefficient"
    )


def _falls_from_start(history: History) -> str | None:
    """A policy that the very first updates spoil has no good steps to compare with but the first."""
    start, spread = (history.first[0].get(key) for key in ("reward/mean", "reward/std"))
    newest, lowest = history.last("reward/mean", CALM), history.values("reward/min")
    if start is None or spread is None or newest is None or not lowest or history.step <= CALM:
        return None
    noise, floor = spread / math.sqrt(history.config.rollout.groups_per_step), min(lowest)
    if mean(newest) - floor >= LEFT * (start - floor) or not start - mean(newest) > (1 + NOISE) * noise:
        return None
    return (
        f"the reward fell from {start:.3f} in step 1 to {mean(newest):.3f} (mean of the last {CALM} steps): lower learner.lr "
        f"(now {history.config.learner.lr:g}) and start again"
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


def entropy_vanishes(history: History) -> str | None:
    """The policy no longer explores, and the reward has stopped rising below what single responses reach."""
    began, entropies = history.beginning("entropy"), history.last("entropy", ENTROPY_STEPS)
    rewards, best = history.last("reward/mean", 2 * ENTROPY_STEPS), history.values("reward/max")
    if began is None or entropies is None or rewards is None or not best or began <= 0:
        return None
    now, earlier = mean(rewards[ENTROPY_STEPS:]), mean(rewards[:ENTROPY_STEPS])
    floor = min(history.values("reward/min"), default=0.0)
    reached = now - floor >= NEARLY_BEST * (max(best) - floor)
    if mean(entropies) >= VANISHED * began or now > earlier or reached:
        return None
    return (
        f"entropy fell from {began:.3g} to {mean(entropies):.2g} nats a token and the reward no longer rises ({now:.3f}): raise "
        "objective.clip_high or rollout.temperature, or lower learner.lr"
    )


def mismatch_jumps(history: History) -> str | None:
    """Engine and learner differ several times more than in earlier steps. With `mismatch.alarm` the alarm says it, and its cause."""
    values = history.values("mismatch/kl")
    if len(values) < CALM + STEPS or history.config.mismatch.alarm is not None:
        return None
    before, now = median(values[:-STEPS]), min(values[-STEPS:])
    if now <= VISIBLE or now <= JUMP * before:
        return None
    staleness = history.config.run.max_staleness
    remedy = (
        f"lower run.max_staleness (now {staleness}) or learner.lr, or set correction.preset"
        if staleness
        else "set mismatch.share to see its causes, and bring precision and kernels of [rollout.vllm] closer to model.dtype"
    )
    return f"engine and learner disagree more: mismatch/kl is {now:.2g} nats a token, up from {before:.2g}: {remedy}"


POLICY_RULES = (
    Rule("not_learning", not_learning),
    Rule("moved_far", moved_far),
    Rule("clipped", clipped),
    Rule("reward_falls", reward_falls),
    Rule("entropy_vanishes", entropy_vanishes),
    Rule("mismatch_jumps", mismatch_jumps),
)
