"""Rules about updates: dropped, empty or without a gradient, too large or too small, spikes of ratios and gradients, tokens clipped."""

from itertools import pairwise
from statistics import median

from cluster.health.history import History, mean
from cluster.health.rule import Finding, Rule
from cluster.health.rules.remedies import lower_rate

STEPS = 3  # in a row before a rule speaks
ALIKE = 0.95  # share of groups without signal from which a gradient of 0 is no surprise
BAD = 0.01  # share of the tokens whose log-prob is not finite
# Mean abs(log ratio) of a step's tokens. With a clip at 0.2, a mean of 0.1 has typical tokens at half of their bound, and the tail far
# beyond it. Steps of the shipped recipes reach 0.09 once and 0.04 as a mean of three. The tiny recipe at ten times its learning rate has
# 0.48 in its first step and 0.33 as a mean of three, and loses all its reward.
FAR, FAR_AT_ONCE = 0.1, 0.25
CLIP_STEPS, CLIPPED = 5, 0.3  # share of tokens
STILL_STEPS, STILL = 20, 1e-5  # mean abs(log ratio): the probability of a token changes by a thousandth of a per cent a step
ROUNDING = 1e-6  # the same, of arithmetic in float32 alone: a reward that rises then rises by chance
SPIKE_STEPS, SPIKES, SPIKE = 10, 3, 10.0  # so many of these steps have a gradient norm so many times the usual one
RATIO_STEPS, RATIO = 5, 7.0  # nats: the probability of some token changes by a factor of a thousand, in each of these steps


def updates_dropped(history: History) -> Finding | None:
    """Updates are dropped because gradients are not finite."""
    skipped = history.last("updates_skipped", STEPS + 1)
    if skipped is None or not all(later > earlier for earlier, later in pairwise(skipped)):
        return None
    return Finding(
        f"updates were dropped in each of the last {STEPS} steps because gradients were not finite, or spiked",
        f'{lower_rate(history)}, or set model.dtype = "bfloat16" or "float32"',
    )


def bad_logprobs(history: History) -> Finding | None:
    """The engine gives log-probs that are no numbers, and their tokens are left out."""
    bad, tokens = history.last("bad_logprobs", STEPS), history.last("tokens", STEPS)
    if bad is None or tokens is None or sum(bad) <= BAD * sum(tokens):
        return None
    return Finding(
        f"the engine's log-prob of {sum(bad) / max(sum(tokens), 1):.0%} of the tokens of the last {STEPS} steps is not finite",
        'set rollout.dtype = "float32", or another attention or quantization in [rollout.vllm]',
    )


def nothing_learned(history: History) -> Finding | None:
    """No response enters the loss."""
    learned = history.last("learned_tokens", STEPS)
    if learned is None or any(learned):
        return None
    return Finding(
        f"no response of the last {STEPS} steps was learned (responses_left_out counts them)",
        "see the failures in responses/, and raise rollout.max_response_tokens if over-long responses are filtered",
    )


def no_gradient(history: History) -> Finding | None:
    """The gradient is 0 although rewards differ."""
    norms, alike = history.last("grad_norm", STEPS), history.last("groups/no_signal", STEPS)
    learned = history.last("learned_tokens", STEPS)
    if norms is None or any(norms) or alike is None or max(alike) >= ALIKE or (learned is not None and not any(learned)):
        return None
    return Finding(
        f"the gradient was 0 in the last {STEPS} steps although rewards differ",
        "widen the bound in objective.* or correction.* that clips or masks every token (clip/*, correction/masked, correction/vetoed)",
    )


def rate_too_high(history: History) -> Finding | None:
    """The updates of one step move the policy too far from the one that sampled."""
    if history.config.objective.resolved.old == "engine" and history.config.run.max_staleness:
        return None  # the ratio then holds the mismatch and the staleness too
    now, moved = history.now("ratio/abs_log"), history.last("ratio/abs_log", STEPS)
    if now is not None and now > FAR_AT_ONCE:
        seen = f"the step changed the log-prob of a token by {now:.2g} nats on average"
    elif moved is not None and mean(moved) > FAR:
        seen = f"each of the last {STEPS} steps changed the log-prob of a token by {mean(moved):.2g} nats on average"
    else:
        return None
    learner = history.config.learner
    fewer = f" or learner.updates_per_step (now {learner.updates_per_step})" if learner.updates_per_step > 1 else ""
    return Finding(
        f"{seen} (ratio/abs_log), usual is below 0.05",
        f"{lower_rate(history)}{fewer}, and start from a checkpoint before that or anew",
    )


def rate_too_low(history: History) -> Finding | None:
    """Updates are made and change next to nothing."""
    updates = history.config.learner.updates_per_step
    moved, norms, alike = history.last("ratio/abs_log", STILL_STEPS), history.last("grad_norm", STILL_STEPS), history.alike(STILL_STEPS)
    rates = history.last("lr", STILL_STEPS)
    if updates == 1 or moved is None or norms is None or alike is None or alike >= ALIKE or not all(norms):
        return None
    lr = history.config.learner.lr
    if max(moved) >= STILL or (max(moved) >= ROUNDING and history.rises()) or (rates is not None and min(rates) < lr / 2):
        return None  # a schedule that has come down is meant
    return Finding(
        f"the last {STILL_STEPS} steps changed the log-prob of a token by {max(moved):.1g} nats at most (ratio/abs_log), so nothing is "
        "learned",
        f"raise learner.lr from {lr:g} to {10 * lr:.1g}",
    )


def gradient_spikes(history: History) -> Finding | None:
    """Several gradients are many times the usual one and are clipped."""
    norms, limit = history.values("grad_norm"), history.config.learner.max_grad_norm
    if len(norms) < 3 * SPIKE_STEPS:
        return None
    usual = median(norms[:-SPIKE_STEPS])
    large = [norm for norm in norms[-SPIKE_STEPS:] if norm > max(SPIKE * usual, limit)]
    if usual <= 0 or len(large) < SPIKES:
        return None
    skip = 'set learner.on_spike = "skip", ' if history.config.learner.on_spike == "go on" else ""
    return Finding(
        f"{len(large)} of the last {SPIKE_STEPS} steps have a gradient norm above {SPIKE:g} times the usual {usual:.3g}, up to "
        f"{max(large):.3g}",
        f"{lower_rate(history)}, {skip}or learner.max_grad_norm from {limit:g} to {max(2 * usual, limit / 4):.2g}",
    )


def ratio_spikes(history: History) -> Finding | None:
    """In every step some token's probability changes by a huge factor."""
    if history.config.objective.resolved.old == "engine":
        return None
    ratios = history.last("ratio/max_abs_log", RATIO_STEPS)
    if ratios is None or min(ratios) <= RATIO:
        return None
    return Finding(
        f"in each of the last {RATIO_STEPS} steps the probability of some token changed by a factor of e^{min(ratios):.0f} or more "
        "(ratio/max_abs_log)",
        f'{lower_rate(history)}, or set objective.surrogate = "dual_clip" with objective.cap = 3, which bounds what a token weighs',
    )


def clipped(history: History) -> Finding | None:
    """The clip cuts a large share of tokens, with ratios of single tokens; sequence ratios clip whole responses by design."""
    low, high = history.last("clip/low", CLIP_STEPS), history.last("clip/high", CLIP_STEPS)
    if low is None or high is None or history.config.objective.resolved.ratio != "token":
        return None
    share = mean(low) + mean(high)
    if share <= CLIPPED:
        return None
    updates = history.config.learner.updates_per_step
    return Finding(
        f"the clip cut {share:.0%} of the tokens in the last {CLIP_STEPS} steps, usual is below 5%",
        f"{lower_rate(history)}, learner.updates_per_step from {updates} to {max(1, updates // 2)}, or widen objective.clip_low and "
        "objective.clip_high",
    )


BROKEN_UPDATES = (
    Rule("updates_dropped", updates_dropped),
    Rule("bad_logprobs", bad_logprobs),
    Rule("nothing_learned", nothing_learned),
    Rule("no_gradient", no_gradient),
)
MOVES = (
    Rule("rate_too_high", rate_too_high),
    Rule("rate_too_low", rate_too_low),
    Rule("gradient_spikes", gradient_spikes),
    Rule("ratio_spikes", ratio_spikes),
    Rule("clipped", clipped),
)
