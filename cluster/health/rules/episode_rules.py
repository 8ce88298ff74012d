"""Rules about episodes: turns that run out, answers that are cut, tools that fail or are never called."""

from cluster.health.history import History, mean
from cluster.health.rule import Finding, Rule
from cluster.health.rules.remedies import share_of

STEPS = 3  # in a row before a rule speaks
MOST = 0.5  # of the episodes
ALL = 0.95  # of the calls, and of the episodes
PATIENCE, FALLS = 15, 0.95  # steps that a model has to learn to finish sooner; the share of the start to which that comes down
CALLS = 0.05  # calls an episode, at least
SILENT_STEPS = 10  # without a single call


def out_of_turns(history: History) -> Finding | None:
    """Most episodes end because the model has no turn left, and it does not learn to need fewer.

    A game that is to be won within its turns begins like that: its share falls, or its reward rises, within the first steps.
    """
    shares, began = history.last("turns/exhausted", STEPS), history.beginning("turns/exhausted")
    if shares is None or mean(shares) < MOST:
        return None
    learns = history.rises() or (began is not None and mean(shares) < FALLS * began)
    if min(shares) < ALL and (history.step < PATIENCE or learns):
        return None
    limit = history.config.rollout.max_turns
    return Finding(
        f"{share_of(shares, ALL)} episodes of the last {STEPS} steps are out of turns (rollout.max_turns = {limit})",
        f"raise it to {2 * limit}, or end episodes earlier in the environment; `gatewise play` shows one",
    )


def answers_cut(history: History) -> Finding | None:
    """Most episodes have an answer that was too long for its place."""
    cuts = history.last("tool/cut", STEPS)
    if cuts is None or mean(cuts) < MOST:
        return None
    limit = history.config.rollout.max_reply_tokens
    return Finding(
        f"{mean(cuts):.2g} answers an episode were cut at rollout.max_reply_tokens ({limit}) in the last {STEPS} steps",
        f"raise it to {4 * limit}, or let tools and environments say less",
    )


def calls_fail(history: History) -> Finding | None:
    """Every tool call ends in an error."""
    calls, errors = history.last("tool/calls", STEPS), history.last("tool/errors", STEPS)
    if calls is None or errors is None or min(calls) < CALLS or sum(errors) < ALL * sum(calls):
        return None
    whole = "all" if sum(errors) >= sum(calls) else f"{sum(errors) / sum(calls):.0%} of the"
    return Finding(
        f"{whole} tool calls of the last {STEPS} steps failed",
        f'read the answers in responses/, and look whether tools.format ("{history.config.tools.format}") is how this model calls',
    )


def no_calls(history: History) -> Finding | None:
    """Tools are in use and the model calls none."""
    calls = history.last("tool/calls", SILENT_STEPS)
    if calls is None or max(calls) > 0 or not history.config.tools.use:
        return None
    return Finding(
        f"the model called no tool in the last {SILENT_STEPS} steps",
        f'look at the prompt with `gatewise play`, and whether tools.format ("{history.config.tools.format}") is how this model calls',
    )


EPISODE_RULES = (
    Rule("calls_fail", calls_fail),
    Rule("no_calls", no_calls),
    Rule("answers_cut", answers_cut),
    Rule("out_of_turns", out_of_turns),
)
