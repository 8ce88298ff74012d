"""What a run that fails must say and leave behind."""

from cluster.causes.cause import MOST_LINES
from tests.toys.drive import Driver


def ended(driver: Driver) -> list[str]:
    """What a failed run explained, from the line that names who failed; nothing may be left of the run."""
    assert driver.wait(240) == 1, driver.text()[-3000:]
    assert driver.wait_for_nobody() == []
    lines = driver.text().rstrip().splitlines()
    start = next(place for place, line in enumerate(lines) if "; its log: " in line and not line.startswith("warning: "))
    assert len(lines) - start <= MOST_LINES
    assert "traceback of the driver: " in driver.text()
    return lines[start:]
