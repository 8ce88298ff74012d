"""Advice that several rules give."""

from cluster.health.history import History
from configs.schema import Config

OVERHEADS = {  # what makes a stage smaller in which nobody generates or learns
    "publish": 'set rollout.transfer = "nccl", or learn from more in a step with a larger rollout.groups_per_step',
    "save": "raise run.save_every",
    "evaluate": "raise run.eval_every, or lower data.eval_limit",
}


def lower_rate(history: History) -> str:
    """A third of the learning rate: the next lower one that people try."""
    lr = history.config.learner.lr
    return f"lower learner.lr from {lr:g} to {lr / 3:.1g}"


def share_of(values: list[float], nearly_all: float) -> str:
    """How many of the things of which these are shares: "all", or a percentage "of the"."""
    return "all" if min(values) >= nearly_all else f"{sum(values) / len(values):.0%} of the"


def more_engines(config: Config) -> str:
    """Moves the split towards generation."""
    engines, ranks = config.rollout.most_engines, config.learner.ranks
    move = f", with a rank less (learner.ranks = {ranks - 1})" if ranks > 1 else ""
    return f"raise rollout.engines from {engines} to {engines + 1}{move}, or max_num_seqs in [rollout.vllm]"


def more_ranks(config: Config) -> str:
    """Moves the split towards learning."""
    engines, ranks = config.rollout.most_engines, config.learner.ranks
    move = f" and lower rollout.engines from {engines} to {engines - 1}" if engines > 1 else ""
    return f"raise learner.ranks from {ranks} to {ranks + 1}{move}, raise learner.micro_batch_tokens, or set learner.packing = true"
