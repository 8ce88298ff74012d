"""A learner's weights for the tests of senders: two tensors, gathered one after the other by all ranks."""

from typing import Any

import torch

from rollout.transfer.proof import Entry


class Source:
    """Two tensors, gathered one after the other by all ranks."""

    def __init__(self) -> None:
        self.gathered: list[str] = []
        self.device = torch.device("cpu")

    def manifest(self) -> tuple[Entry, ...]:
        return tuple(Entry(name, "float32", (2,)) for name in ("embedding", "head"))

    def live(self) -> Any:
        return iter(self)

    def __iter__(self) -> Any:
        for entry in self.manifest():
            self.gathered.append(entry.name)
            yield entry.name, torch.zeros(2)
