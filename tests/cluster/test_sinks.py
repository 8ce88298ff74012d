from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster.record.metrics import sinks
from cluster.record.metrics.metrics import Metrics, read_metrics
from configs.schema import Config
from tests.toys.run import run_config


class Remote:
    """A destination elsewhere, as somebody would add it."""

    said: list[object]

    def __init__(self, config: Config, from_step: int) -> None:
        self.said.append(("opened after", from_step))

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return bool(config.run.steps > 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.said.append((step, dict(values)))

    def flush(self) -> None:
        self.said.append("flushed")

    def complaint(self) -> str:
        return ""

    def close(self) -> None:
        self.said.append("closed")


@pytest.mark.parametrize(("steps", "wanted"), [(2, True), (1, False)])
def test_a_new_destination_is_one_class_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, wanted: bool):
    monkeypatch.setattr(Remote, "said", [], raising=False)
    monkeypatch.setattr(sinks, "SINKS", (*sinks.SINKS, Remote))
    metrics = Metrics(run_config(tmp_path, run={"steps": steps}), 4)
    metrics.write(5, {"b": 1.0, "a/layer_00": 2.0})
    metrics.flush()
    metrics.close()
    assert Remote.said == ([("opened after", 4), (5, {"b": 1.0, "a/layer_00": 2.0}), "flushed", "closed"] if wanted else [])
    assert read_metrics(tmp_path) == [{"step": 5, "b": 1.0}]


def test_a_sink_that_cannot_close_leaves_no_other_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Broken(Remote):
        def close(self) -> None:
            raise OSError("the network is gone")

    monkeypatch.setattr(Remote, "said", [], raising=False)
    monkeypatch.setattr(sinks, "SINKS", (Remote, Broken, *sinks.SINKS))
    metrics = Metrics(run_config(tmp_path, run={"steps": 2}), 0)
    with pytest.raises(OSError, match="the network is gone"):
        metrics.close()
    assert Remote.said[-1] == "closed"
