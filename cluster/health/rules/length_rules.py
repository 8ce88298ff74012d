"""Rules about lengths: responses cut off, longer ones that are no better, and ones that vanish."""

from cluster.health.history import History, mean
from cluster.health.rule import Finding, Rule
from cluster.health.rules.remedies import share_of

STEPS = 3  # in a row before a rule speaks
MOST, NEARLY_ALL = 0.5, 0.95  # of the responses
ROSE = 0.15  # of the share that is cut off
LENGTH_STEPS, GROWN, SHRUNK = 10, 1.5, 0.25  # times the length of the first steps


def truncated(history: History) -> Finding | None:
    """Most responses end at the token limit instead of at a stop token, from the start on."""
    shares = history.last("length/truncated", STEPS)
    if shares is None or mean(shares) < MOST or _out_of_turns(history) or _began_short(history) or history.rises():
        return None
    limit = history.config.rollout.max_response_tokens
    return Finding(
        f"{share_of(shares, NEARLY_ALL)} responses of the last {STEPS} steps are cut off at rollout.max_response_tokens ({limit})",
        f"raise it to {2 * limit}, or check that the prompt's template lets the model end its answer (data.chat_template)",
    )


def truncation_rises(history: History) -> Finding | None:
    """More and more responses run into the token limit."""
    shares, began = history.last("length/truncated", STEPS), history.first[0].get("length/truncated")
    if shares is None or began is None or _out_of_turns(history) or history.rises():
        return None
    much, most = min(shares) >= began + 2 * ROSE, mean(shares) >= MOST and _began_short(history)
    steadily = (longer := history.mean("length/truncated", LENGTH_STEPS)) is not None and longer >= began + ROSE
    if not most and not (much and steadily):
        return None
    limit = history.config.rollout.max_response_tokens
    return Finding(
        f"{share_of(shares, NEARLY_ALL)} responses of the last {STEPS} steps are cut off at rollout.max_response_tokens ({limit}), up "
        f"from {began:.0%} at the start, and the reward does not rise",
        f"raise it to {2 * limit}, punish length with reward.overlong_cache = {max(1, limit // 4)}, or lower learner.lr if the reward fell",
    )


def length_grows(history: History) -> Finding | None:
    """Responses get longer and the reward does not rise."""
    began, now = history.beginning("length/mean"), history.mean("length/mean", LENGTH_STEPS)
    correct = "reward/correct" if history.now("reward/correct") is not None else "reward/mean"
    if began is None or now is None or history.step < 2 * LENGTH_STEPS or now < GROWN * began or history.rises(correct):
        return None
    limit = history.config.rollout.max_response_tokens
    return Finding(
        f"responses grew from {began:.3g} to {now:.3g} tokens while correctness does not rise (it began at "
        f"{history.beginning(correct) or 0.0:.2f})",
        f'set reward.overlong_cache = {max(1, limit // 4)}, objective.reduction = "token_mean", or lower the weight of a part of the '
        "reward that likes length",
    )


def length_collapses(history: History) -> Finding | None:
    """Responses shrink to a fraction and the reward does not rise."""
    began, now = history.beginning("length/mean"), history.mean("length/mean", LENGTH_STEPS)
    if began is None or now is None or now > SHRUNK * began or history.rises():
        return None
    return Finding(
        f"responses shrank from {began:.3g} to {now:.3g} tokens and the reward does not rise",
        "look in responses/ whether the model still answers; lower the weight of what punishes length (reward.overlong_cache, "
        "[reward.parts]), or set kl.reference and kl.coefficient = 0.001",
    )


def _began_short(history: History) -> bool:
    began = history.first[0].get("length/truncated")
    return began is not None and began < MOST / 2


def _out_of_turns(history: History) -> bool:
    """Most episodes are out of turns, which has a rule of its own."""
    return mean(history.last("turns/exhausted", STEPS) or [0.0]) >= MOST


LENGTH_RULES = (
    Rule("truncated", truncated),
    Rule("truncation_rises", truncation_rises),
    Rule("length_grows", length_grows),
    Rule("length_collapses", length_collapses),
)
