"""Rules about experts: ones that no token reaches any more, and layers that send everything to a few."""

from cluster.health.history import History
from cluster.health.rule import Finding, Rule

STEPS = 5
# A small batch leaves rare experts without a token by chance; a dying router loses more and more of them.
TIMES, MORE = 2.0, 3.0  # the start's number, and experts more than at the start
SHRUNK = 0.7  # of the start's entropy of the load, in the worst layer


def experts_die(history: History) -> Finding | None:
    """Several experts that tokens took in the first steps get none any more."""
    began, dead = history.beginning("load/dead"), history.last("load/dead", STEPS)
    if began is None or dead is None or min(dead) < max(TIMES * (began + 1), began + MORE):
        return None
    return Finding(f"{min(dead):.0f} experts get no token (load/dead), where {began:.3g} did at the start", _advice(history))


def experts_uneven(history: History) -> Finding | None:
    """The load of a layer concentrates on few experts."""
    began, now = history.beginning("load/entropy_worst"), history.mean("load/entropy_worst", STEPS)
    if began is None or now is None or now >= SHRUNK * began:
        return None
    full = history.mean("load/max_over_mean_worst", STEPS)
    fullest = f", and its fullest expert takes {full:.2g} times the mean" if full is not None else ""
    return Finding(f"a layer's load concentrates on few experts: its entropy fell from {began:.2f} to {now:.2f}{fullest}", _advice(history))


def _advice(history: History) -> str:
    learner = history.config.learner
    if learner.router == "frozen":
        return f"lower learner.lr from {learner.lr:g} to {learner.lr / 3:.1g}; experts.png shows when it began"
    aux = "learner.aux_loss = 0.001" if not learner.aux_loss else f"learner.aux_loss from {learner.aux_loss:g} to {3 * learner.aux_loss:g}"
    return f'set {aux}, or learner.router = "frozen", and go on from a checkpoint before that; experts.png shows when it began'


EXPERT_RULES = (
    Rule("experts_die", experts_die),
    Rule("experts_uneven", experts_uneven),
)
