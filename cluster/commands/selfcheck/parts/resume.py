"""A run continues from its checkpoint, where it stopped."""

import math

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured
from cluster.commands.train import PROVING, STARTING
from cluster.record.checkpoint import read_position

SECOND = 2  # the attempt of the ledger


def judge(found: Evidence) -> Measured:
    """The step after the checkpoint's has the next number and learns the next groups of the data, none lost and none twice."""
    again = found.again()
    assert found.resumed_from is not None, "a second run has a checkpoint"
    position = read_position(found.resumed_from)
    step = position.step + 1
    row = found.step(step)
    needed(row["loss"] is not None and math.isfinite(row["loss"]), f"step {step}: loss {row['loss']}")
    begun = found.ledger("SELECT from_step FROM attempts WHERE attempt = ?", SECOND)
    needed([tuple(found) for found in begun] == [(position.step,)], f"the ledger has no attempt that continues after step {position.step}")
    settled = {group for (group,) in found.ledger("SELECT group_id FROM groups WHERE step = ? AND outcome = 'learned'", step)}
    needed(settled, f"step {step} learned no group")
    rejected = {group for (group,) in found.ledger("SELECT group_id FROM groups WHERE attempt = ? AND outcome = 'rejected'", SECOND)}
    expected = {group for group in range(max(settled) + 1) if group >= position.next_group or group in position.pending}
    taken = settled | {group for group in rejected if group <= max(settled)}
    needed(taken == expected, f"step {step} took the groups {sorted(taken)}, and the data stood at {sorted(expected)}")
    prompts = [prompt for (prompt,) in found.ledger("SELECT prompt_id FROM groups WHERE outcome = 'learned' AND step <= ?", step)]
    needed(len(set(prompts)) == len(prompts), "a prompt was learned twice before all prompts were learned once")
    start = again.stage(STARTING) + again.stage(PROVING)
    return Measured(numbers={"after_step": position.step, "next_step": step, "groups": len(settled)}, seconds=start + row["seconds/step"])
