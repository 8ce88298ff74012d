"""Past weights of this rank in host memory, swapped into the policy for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from learner.model.zero import ZeroEngine, shards


class WeightHistory:
    """This rank's part of the last `versions` versions of a policy. All ranks must make the same calls.

    Memory: `versions` times this rank's part of the parameters, in their own type. It starts empty, also after a resume.
    """

    def __init__(self, zero: ZeroEngine, versions: int) -> None:
        self.zero, self.versions = zero, versions
        self.stored: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def store(self, version: int) -> None:
        """Copy the present weights under this version; drop the oldest version if there are too many."""
        now = shards(self.zero.module)
        # Reuse the memory of the version that is dropped.
        full = len(self.stored) == self.versions
        copy = self.stored.pop(min(self.stored)) if full else {name: torch.empty_like(part, device="cpu") for name, part in now.items()}
        for name, part in now.items():
            copy[name].copy_(part)
        self.stored[version] = copy

    @contextmanager
    def swapped_in(self, version: int) -> Iterator[None]:
        """Within: the policy has the weights of that version; it must not learn or be saved."""
        self._exchange(version)
        try:
            yield
        finally:
            self._exchange(version)

    @torch.no_grad()
    def _exchange(self, version: int) -> None:
        """Swap the policy's weights with the stored ones, tensor by tensor: no third copy of the model, and both come back bit for bit."""
        stored = self.stored[version]
        for name, part in shards(self.zero.module).items():
            present = part.clone()
            part.copy_(stored[name])
            stored[name].copy_(present)
        self.zero.drop_gathered()
