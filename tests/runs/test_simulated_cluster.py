"""Expert groups and engines on a simulated cluster: real raylets that declare GPUs, and Ray's own placement."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.end_to_end

SIZES = "rollout.vllm.tensor_parallel_size=2 rollout.cpus_per_engine=1 learner.cpus_per_rank=1"
WHOLE = f"rollout.engines=2 learner.ranks=6 learner.expert_parallel=2 {SIZES}"
NO_ROOM = f"rollout.engines=1 learner.ranks=9 learner.expert_parallel=3 {SIZES}"
FULL = f"rollout.engines=3 learner.ranks=4 learner.expert_parallel=4 {SIZES}"

CHANGING = f"changing rollout.engines.min=1 rollout.engines.max=8 learner.ranks=4 learner.expert_parallel=4 {SIZES}"


def test_expert_groups_and_engines_lie_whole_on_a_node_wherever_the_nodes_have_room_for_them() -> None:
    words = [
        sys.executable,
        "-m",
        "tests.toys.simulated_cluster",
        "4,4,3",
        "configs/qwen3_30b_a3b_gspo.toml",
        WHOLE,
        NO_ROOM,
        FULL,
        CHANGING,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, no_room, full, changing = (json.loads(line) for line in done.stdout.splitlines())
    for found in (whole, full):
        assert found["across"] == []
        assert found["said"] == []
        assert all(gpus_taken(found, node) <= 4 for node in range(3))
    assert len(set(full["ranks"])) == 1
    ((node, first), (other, second)) = whole["started"]
    assert node == other == whole["ranks"][0], "both ranks of a group start in the bundle that they share"
    assert len(first) == len(second) == 1
    assert first != second
    assert no_room["across"] == [2], "of 9 places on nodes of 4, 4 and 3 beside an engine two groups of 3 can be whole"
    assert "1 of 3 expert groups lie on several nodes" in no_room["said"][0]
    assert changing == {
        "engines": 3,  # of two GPUs, on nodes of 4 and 3 beside one that the ranks fill
        "full": [0, False],
        "freed": True,
        "again": True,
        "joined": [4, True],
        "there": True,
        "died": False,
        "left": True,
        "competing": [True, True],
    }


def gpus_taken(found: dict[str, Any], node: int) -> int:
    return 2 * found["engines"].count(node) + found["ranks"].count(node)
