"""One learner rank that learns two steps, once with all its memory and once giving it away in between."""

import torch

from learner.model.parking import Parking, storages
from tests.toys.rank_base import Rank

REFERENCE = ['kl.reference="initial"', "kl.coefficient=0.01", "kl.refresh_every=1"]


class ParkingRank(Rank):
    """A rank whose memory is parked and comes back."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write the proofs of both ways and after a restart, and what the rank held while its memory was away."""
        overrides = [*overrides, *REFERENCE]
        straight, source = self.learner(overrides)
        for _ in range(2):
            self.step(straight)
        dict(source)
        learner, parked = self.learner(overrides)
        parking = Parking(learner, self.device, learner.zero.scratch)
        left, given = 0, 0
        for step in range(3):
            given = parking.park()
            left = max(left, len(storages(learner, self.device)))
            parking.unpark()
            if step != 2:
                self.step(learner)
        dict(parked)
        _, loaded = self.reloaded(learner, name, overrides)
        dict(loaded)
        if self.rank == 0:
            weights = sum(p.numel() * p.element_size() for p in learner.zero.module.parameters())
            found = {"straight": source.proof, "parked": parked.proof, "loaded": loaded.proof}
            torch.save(found | {"left": left, "given": given, "weights": weights}, self.folder / f"{name}-{self.world}.pt")
