"""One learner rank that learns two steps, once with all its memory and once giving it away in between."""

import torch

from learner.model.parking import Parking, storages
from tests.toys.rank_base import Rank

WITH_ALL = ['kl.reference="initial"', "kl.coefficient=0.01", "kl.refresh_every=1", 'mismatch.action="off"']


class ParkingRank(Rank):
    """A rank whose memory is parked and comes back."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write the proofs of both ways, and what was left while the memory was away."""
        overrides = [*overrides, *WITH_ALL[:3]]
        straight, source = self.learner(overrides)
        for _ in range(2):
            self.step(straight)
        dict(source)
        learner, parked_source = self.learner(overrides)
        parking, sizes, left = Parking(learner, self.device, learner.zero.scratch), [], []
        for _ in range(2):
            sizes.append(parking.park())
            left.append([p.untyped_storage().nbytes() for p in learner.zero.module.parameters()])
            assert storages(learner, self.device) == []
            parking.unpark()
            self.step(learner)
        sizes.append(parking.park())
        parking.unpark()
        dict(parked_source)
        loaded_learner, loaded = self.reloaded(learner, name, overrides)
        dict(loaded)
        del loaded_learner
        if self.rank == 0:
            result = {"straight": source.proof, "parked": parked_source.proof, "loaded": loaded.proof, "sizes": sizes, "left": left}
            torch.save(result, self.folder / f"{name}-{self.world}.pt")
