"""Rules about episodes: turns that run out, answers that are cut, tools that fail or are never called."""

from cluster.health.history import History, mean
from cluster.health.rule import Rule

STEPS = 3  # in a row before a rule speaks
MOST = 0.5  # of the episodes
ALL = 0.95  # of the calls
SILENT_STEPS = 10  # without a single call


def out_of_turns(history: History) -> str | None:
    """Most episodes end because the model has no turn left."""
    shares = history.last("turns/exhausted", STEPS)
    if shares is None or mean(shares) < MOST:
        return None
    limit = history.config.rollout.max_turns
    return (
        f"{_share(shares)} episodes of the last {STEPS} steps are out of turns (rollout.max_turns = {limit}): raise it, or end episodes "
        "earlier in the environment; `gatewise play` shows one"
    )


def answers_cut(history: History) -> str | None:
    """Most episodes have an answer that was too long for its place."""
    cuts = history.last("tool/cut", STEPS)
    if cuts is None or mean(cuts) < MOST:
        return None
    limit = history.config.rollout.max_reply_tokens
    return (
        f"{mean(cuts):.2g} answers an episode were cut at rollout.max_reply_tokens ({limit}) in the last {STEPS} steps: raise it, or let "
        "tools and environments say less"
    )


def calls_fail(history: History) -> str | None:
    """Every tool call ends in an error."""
    calls, errors = history.last("tool/calls", STEPS), history.last("tool/errors", STEPS)
    if calls is None or errors is None or min(calls) <= 0 or sum(errors) < ALL * sum(calls):
        return None
    whole = "all" if sum(errors) >= sum(calls) else f"{sum(errors) / sum(calls):.0%} of the"
    return (
        f"{whole} tool calls of the last {STEPS} steps failed: read the answers in responses/, and look whether tools.format "
        f'("{history.config.tools.format}") is how this model calls'
    )


def no_calls(history: History) -> str | None:
    """Tools are in use and the model calls none."""
    calls = history.last("tool/calls", SILENT_STEPS)
    if calls is None or max(calls) > 0 or not history.config.tools.use:
        return None
    return (
        f"the model called no tool in the last {SILENT_STEPS} steps: look at the prompt with `gatewise play`, and whether tools.format "
        f'("{history.config.tools.format}") is how this model calls'
    )


def _share(shares: list[float]) -> str:
    return "all" if min(shares) >= ALL else f"{mean(shares):.0%} of the"


EPISODE_RULES = (
    Rule("out_of_turns", out_of_turns),
    Rule("answers_cut", answers_cut),
    Rule("calls_fail", calls_fail),
    Rule("no_calls", no_calls),
)
