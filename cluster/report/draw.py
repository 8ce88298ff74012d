"""`python -m cluster.report.draw RUN_DIR` draws a run's pictures and writes its report, as the driver asks for it."""

import os
import signal
import sys
from pathlib import Path

from cluster.record.pictures.draw import draw_run
from cluster.report.write import write_report
from reward.processes.prctl import die_with


def main(folder: str, driver: str = "", niceness: str = "0") -> None:
    """Draw and write; with a driver end when it does, and with a niceness let other processes go first."""
    if driver:
        die_with(int(driver), signal.SIGKILL)
    os.nice(int(niceness))
    try:
        draw_run(Path(folder))
    finally:  # a picture that cannot be drawn leaves the report
        write_report([Path(folder)], ended=bool(driver) and int(niceness) == 0)  # only the last one of a driver is in no hurry to yield


if __name__ == "__main__":
    main(*sys.argv[1:])
