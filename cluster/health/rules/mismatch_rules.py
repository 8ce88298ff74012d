"""Rules about engine and learner: a mismatch that is large from the start, that jumps, or that staleness makes; experts not recorded."""

from statistics import median

from cluster.health.history import History
from cluster.health.rule import Finding, Rule

STEPS = 3  # in a row before a rule speaks
CALM, JUMP, VISIBLE = 5, 5.0, 0.01  # steps; times their median; nats a token
# k3 of learner over engine, of one and the same weights. bfloat16 gives about 1e-3 with a mixture of experts; at 0.05 the effective sample
# is some 10% smaller and single tokens weigh several times what they should.
HIGH = 0.05
MISSING = 0.05  # share of the responses


def mismatch_high(history: History) -> Finding | None:
    """Engine and learner differ much from the first steps on, though both have the same weights."""
    config = history.config
    values = history.last("mismatch/kl", STEPS)
    early = history.step <= CALM + STEPS
    if values is None or config.run.max_staleness or config.mismatch.alarm is not None or not early or min(values) <= HIGH:
        return None
    return Finding(
        f"engine and learner disagree by {min(values):.2g} nats a token (mismatch/kl) with the same weights",
        'set rollout.dtype = "model" and learner.head_dtype = "float32", with experts learner.routing = "replay_rollout"; '
        'mismatch.share = 0.05 shows the cause, correction.preset = "tis" bounds the harm',
    )


def mismatch_jumps(history: History) -> Finding | None:
    """Engine and learner differ several times more than in earlier steps. With `mismatch.alarm` the alarm says it, and its cause."""
    values = history.values("mismatch/kl")
    if len(values) < CALM + STEPS or history.config.mismatch.alarm is not None:
        return None
    before, now = median(values[:-STEPS]), min(values[-STEPS:])
    if now <= VISIBLE or now <= JUMP * before:
        return None
    staleness = history.config.run.max_staleness
    remedy = (
        f'lower run.max_staleness from {staleness} to {staleness - 1} or learner.lr, or set correction.preset = "tis"'
        if staleness
        else "set mismatch.share = 0.05 to see its causes, and bring precision and kernels of [rollout.vllm] closer to model.dtype"
    )
    return Finding(f"engine and learner disagree more: mismatch/kl is {now:.2g} nats a token, up from {before:.2g}", remedy)


def stale_policy(history: History) -> Finding | None:
    """The policy moves so far while responses wait that they are no sample of it any more."""
    config = history.config
    kl, stale = history.mean("mismatch/kl", CALM), history.mean("staleness/mean", CALM)
    if not config.run.max_staleness or config.mismatch.alarm is not None or kl is None or stale is None or kl <= 2 * HIGH:
        return None
    lower = f"lower run.max_staleness from {config.run.max_staleness} to {config.run.max_staleness - 1}"
    correct = ', or set correction.preset = "tis"' if config.correction.preset == "none" else ""
    return Finding(
        f"responses are {stale:.1f} steps old when they are learned, and the policy has moved {kl:.2g} nats a token since (mismatch/kl)",
        f"{lower}, or learner.lr from {config.learner.lr:g} to {config.learner.lr / 3:.1g}{correct}",
    )


def routing_missing(history: History) -> Finding | None:
    """Recorded experts do not arrive, so replay does not happen."""
    missing = history.mean("routing/missing", STEPS)
    if missing is None or missing <= MISSING * history.responses:
        return None
    return Finding(
        f"{missing / history.responses:.0%} of the responses of the last {STEPS} steps have no usable record of their experts "
        "(routing/missing)",
        'see logs/engine-0.log; set learner.missing_routing = "mask" to leave them out, or learner.routing = "replay_learner"',
    )


MISMATCH_RULES = (
    Rule("routing_missing", routing_missing),
    Rule("mismatch_high", mismatch_high),
    Rule("mismatch_jumps", mismatch_jumps),
    Rule("stale_policy", stale_policy),
)
