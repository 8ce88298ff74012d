"""Where a report is written, and charts of values that are all alike."""

import json
import os
from pathlib import Path

from cluster.record.saves.asked import write_aside
from cluster.report.files import RunFiles
from cluster.report.pages.experts import differ_by_layer


def test_a_name_may_be_long_and_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    write_aside(tmp_path / f"{'x' * 250}.html", b"long")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"long"]
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_aside(tmp_path / "pipe", b"through")
    assert (os.read(reader, 99), (tmp_path / "pipe").is_fifo()) == (b"through", True)
    os.close(reader)


def test_a_map_of_experts_that_never_differ_is_named_and_a_small_difference_is_pale(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    for share, idle in ((0.0, True), (0.001, False)):
        (tmp_path / "layers.jsonl").write_text(json.dumps({"step": 1, "routing/differ": [0.0, share]}) + "\n")
        chart = differ_by_layer(RunFiles(tmp_path), 0)
        assert chart is not None
        trace = chart.figure["data"][0]
        assert (chart.idle, trace["zmin"], trace["zmax"]) == (idle, 0, 0.01)
