"""One learner rank that counts the bytes of its tensors around an update."""

import gc
from collections.abc import Sequence

import torch

from learner.model.zero import Refuses
from tests.toys.rank_base import Rank

BUCKET = 1000  # elements: DeepSpeed's own default is larger than this model
OF_ITS_OWN = [
    'model.dtype="bfloat16"',
    'learner.deepspeed.data_types.grad_accum_dtype="fp32"',
    f"learner.deepspeed.zero_optimization.reduce_bucket_size={BUCKET}",
]


def alive() -> int:
    """Bytes of all storages that Python's tensors refer to."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]
    tensors += [each.grad for each in tensors if each.is_leaf and each.grad is not None]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


class MemoryRank(Rank):
    """A rank of a model of 2M parameters in bfloat16."""

    def learn(self, name: str, overrides: Sequence[str]) -> None:
        """Write the bytes before the step's second update, when there are gradients and moments, and after it."""
        before, found = alive(), {}
        learner, _ = self.learner([f'model.path="{self.folder}/large"', *OF_ITS_OWN, *overrides])
        update = learner.zero.update

        def measured(lr: float, refuses: Refuses | None) -> tuple[float, bool]:
            found["before"] = alive() - before
            done = update(lr, refuses)
            found["after"] = alive() - before
            return done

        learner.zero.update = measured  # type: ignore[method-assign]
        self.step(learner)
        if self.rank == 0:
            torch.save(found, self.folder / f"{name}-{self.world}.pt")
