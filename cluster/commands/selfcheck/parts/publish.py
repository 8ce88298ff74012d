"""Weights reach every worker of every engine, which prove it."""

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured, Numbers
from cluster.commands.train import PROVING
from configs.arithmetic import GB
from configs.rules.engine import gpus_per_engine
from rollout.transfer.transport import choose_transport


def judge(found: Evidence) -> Measured:
    """The identity publish changed no answer, and the publish of step 1 is proven; its speed is that of the fastest publish."""
    seconds = found.first.stage(PROVING)
    row = found.step(1)
    needed(found.weights(1), "the ledger has no fingerprint of the weights after step 1, so no worker has proven them")
    speed = max(step["publish/bytes"] / step["publish/seconds"] / GB for step in found.steps)
    numbers: Numbers = {
        "transport": choose_transport(found.config, gpu=found.gpu).backend,
        "workers": row["engines"] * gpus_per_engine(found.config),
        "megabytes": row["publish/bytes"] / 1e6,
        "gb_per_s": speed,
    }
    if found.yardstick is not None:
        numbers["of_copy"] = speed / found.yardstick.copy_gb_per_s
    return Measured(numbers=numbers, seconds=seconds)
