"""An engine that the driver judged is named by that, not by a follow-up error that an earlier publish left in its log."""

from pathlib import Path

import pytest

from cluster.actors.fleet.watch import EngineStalled
from cluster.causes.cause import find_cause
from cluster.causes.roles import Role, RoleFailed

CALLED_BACK = """Traceback (most recent call last):
  File "/work/rollout/transfer/gloo_group.py", line 56, in wait
    raise CalledBack(f"waited for another member: {reason}")
rollout.transfer.recall.CalledBack: waited for another member: the publish was called back, as another member is lost
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (CALLED_BACK, "EngineStalled: engine 0 was killed: a process of its core has been stopped for 12 s"),
        (CALLED_BACK.replace("rollout.transfer.recall.CalledBack: waited", "ValueError: a weight"), "ValueError: a weight"),
    ],
)
def test_a_stalled_engine_is_not_blamed_on_another_member_that_was_lost_before(tmp_path: Path, log: str, line: str):
    role = Role("engine 0", tmp_path / "engine-0.log")
    role.log.write_text(log)
    stalled = EngineStalled("engine 0 was killed: a process of its core has been stopped for 12 s")
    assert find_cause(RoleFailed.behind(role, "died", stalled)).line.startswith(line)
