"""The reference policy of the KL: frozen, or refreshed from the policy every `kl.refresh_every` steps."""

import torch
from torch import Tensor

from configs.schema import Config
from configs.sections.objective import INITIAL
from learner.batch.tensors import Batch
from learner.model.policy import load_policy
from learner.model.zero import ZeroEngine, hold_frozen, shards


class Reference:
    """A second policy on the same ranks; under ZeRO-3 it is sharded like the first, and calling it is a collective."""

    def __init__(self, config: Config, zero: ZeroEngine, rank: int, device: torch.device) -> None:
        self.every, self.rank, self.zero = config.kl.refresh_every, rank, zero
        path = None if config.kl.reference == INITIAL else config.kl.reference
        self.policy = hold_frozen(load_policy(config, path, zero.division), zero, device)
        self.module = getattr(self.policy, "module", self.policy)  # without ZeRO-3's wrapper, so that parameters have the policy's names

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Log-probs of the batch's response tokens [B, T]."""
        logprobs, _ = self.policy(batch)
        return logprobs.detach()

    def refresh_when_due(self, steps_done: int) -> None:
        """Copy the policy's weights after every `kl.refresh_every` steps."""
        if self.every and steps_done % self.every == 0:
            self._fill(shards(self.zero.module))

    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, shard in shards(self.module).items():
            shard.copy_(values[name])
