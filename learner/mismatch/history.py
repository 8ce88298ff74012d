"""The policy's weights as they were: this rank's part of the last versions, in host memory, put in the policy's place for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from learner.model.zero import ZeroEngine, shards


class WeightHistory:
    """The last `versions` versions of a policy, as every rank holds its part of them. All ranks must call alike.

    Memory: `versions` times this rank's part of the parameters, in their own type. It starts empty, also after a resume.
    """

    def __init__(self, zero: ZeroEngine, versions: int) -> None:
        self.zero, self.versions = zero, versions
        self.kept: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def keep(self, version: int) -> None:
        """Keep the present weights under that name; the oldest leave when there are too many."""
        now = shards(self.zero.module)
        # The memory of the one that leaves is used again.
        place = self.kept.pop(min(self.kept)) if len(self.kept) == self.versions else {name: _on_host(part) for name, part in now.items()}
        for name, part in now.items():
            place[name].copy_(part)
        self.kept[version] = place

    @contextmanager
    def holding(self, version: int) -> Iterator[None]:
        """Within: the policy has the weights of that version, and answers with them; nothing may be learned or saved."""
        self._exchange(version)
        try:
            yield
        finally:
            self._exchange(version)

    @torch.no_grad()
    def _exchange(self, version: int) -> None:
        """Swap the policy's weights with those kept, tensor by tensor: no third copy of the model, and what comes back is what left."""
        kept = self.kept[version]
        for name, part in shards(self.zero.module).items():
            present = part.clone()
            part.copy_(kept[name])
            kept[name].copy_(present)
        self.zero.drop_gathered()


def _on_host(part: Tensor) -> Tensor:
    return torch.empty_like(part, device="cpu")
