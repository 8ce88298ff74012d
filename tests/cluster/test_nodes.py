import json
from pathlib import Path

from cluster.record.nodes import describe_nodes, write_nodes


def test_one_machine_takes_one_short_line_and_several_take_a_line_each(tmp_path: Path) -> None:
    here = {"engine-0": "127.0.0.1", "learner-0": "127.0.0.1", "learner-1": "127.0.0.1"}
    assert describe_nodes(here) == ["on one machine (127.0.0.1): 1 engine, 2 ranks"]
    spread = {f"engine-{n}": "10.0.0.1" for n in (0, 1, 2, 5)} | {"engine-3": "10.0.0.2", "learner-0": "10.0.0.2", "learner-1": "10.0.0.3"}
    assert describe_nodes(spread) == ["on 10.0.0.1: engines 0-2, 5", "on 10.0.0.2: engine 3, rank 0", "on 10.0.0.3: rank 1"]
    write_nodes(tmp_path, spread)
    assert json.loads((tmp_path / "nodes.json").read_text()) == spread
