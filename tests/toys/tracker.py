"""A toy tracker: it posts everything to a small HTTP server, or writes to a disk that is full. Run as the follower of a run."""

import errno
import json
import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cluster.record.metrics.trackers import follow, following
from cluster.record.metrics.trackers.table import TRACKERS
from cluster.record.metrics.trackers.tracker import Row, Tracked

FULL = "full disk"


class Toy:
    """Posts what it gets to `place`."""

    package: ClassVar[str] = "json"
    place: ClassVar[str] = ""  # an address, or FULL
    known = None

    def __init__(self, run: Tracked) -> None:
        self.id, self.url = run.id, "toy"
        self.post("begin", {"id": run.id, "resumed": run.resumed, "sent": run.sent, "project": run.project})

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        return "toy"

    def post(self, what: str, content: Any) -> None:
        if self.place == FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = json.dumps({"what": what, "content": content}).encode()
        with urllib.request.urlopen(urllib.request.Request(self.place, data=data), timeout=600) as answer:
            answer.read()

    def rewind(self, step: int) -> None:
        self.post("rewind", step)

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.post("scalars", [[step, dict(values)] for step, values in lines])

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        self.post("responses", step)

    def picture(self, name: str, path: Path, step: int) -> None:
        self.post("picture", name)

    def health(self, step: int, text: str) -> None:
        self.post("health", text)

    def close(self) -> None:
        self.post("close", None)


if __name__ == "__main__":
    Toy.place = os.environ[f"TOY_{sys.argv[2].upper()}"]
    TRACKERS[sys.argv[2]] = Toy
    follow.EVERY_S, follow.SOON_S, follow.LATER_S, follow.AT_THE_END_S, following.SLOW_S = 0.05, 0.1, 0.2, 0.1, 1.0
    os._exit(follow.main(*sys.argv[1:]))
