"""`python -m cluster.record.pictures.draw RUN_DIR` draws a run's pictures: `reward.png`, and `experts.png` for a mixture of experts."""

import os
import signal
import sys
from pathlib import Path

from cluster.record.expert_log import ExpertLog
from cluster.record.metrics.metrics import read_metrics
from cluster.record.pictures.curves import draw
from cluster.record.pictures.experts import draw_experts
from reward.processes.prctl import die_with


def draw_run(folder: Path) -> None:
    """Draw what a run directory has numbers for."""
    draw(read_metrics(folder), folder / "reward.png")
    history = ExpertLog(folder).read()
    if history is not None and len(history[0]):
        draw_experts(history, folder / "experts.png")


def main(folder: str, driver: str = "", niceness: str = "0") -> None:
    """Draw; with a driver end when it does, and with a niceness let other processes go first."""
    if driver:
        die_with(int(driver), signal.SIGKILL)
    os.nice(int(niceness))
    draw_run(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
