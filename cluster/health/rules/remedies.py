"""Advice that several rules give."""

from cluster.health.history import History


def lower_rate(history: History) -> str:
    """A third of the learning rate: the next lower one that people try."""
    lr = history.config.learner.lr
    return f"lower learner.lr from {lr:g} to {lr / 3:.1g}"


def share_of(values: list[float], nearly_all: float) -> str:
    """How many of the things of which these are shares: "all", or a percentage "of the"."""
    return "all" if min(values) >= nearly_all else f"{sum(values) / len(values):.0%} of the"
