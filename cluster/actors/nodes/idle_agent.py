"""Stands in for an agent of Ray's raylet, which starts two and ends when one of them does. It does nothing, and ends with the raylet."""

import os
import select


def main() -> None:
    """Wait for the raylet to end."""
    try:
        raylet = os.pidfd_open(int(os.environ["RAY_RAYLET_PID"]))
    except ProcessLookupError:
        return
    select.select([raylet], [], [])


if __name__ == "__main__":
    main()
