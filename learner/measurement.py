"""What is measured of a micro-batch before the step's first update: the log-probs and the experts that later updates are held to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.schema import Config
from learner.batch import Batch
from learner.plan import MicroBatch
from learner.reference import Reference
from learner.routing import Recorder, Recording
from learner.routing_watch import RoutingWatch
from learner.zero import ZeroEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A micro-batch with what was measured before the step's first update."""

    rows: MicroBatch
    batch: Batch
    old: Tensor | None  # [B, T], the learner's log-probs; None where the first update's own are the same
    reference: Tensor | None  # [B, T]
    replay: Recording | None = None  # the experts that its tokens take in the update


class Measurement:
    """The passes of a step that learn nothing."""

    def __init__(self, config: Config, zero: ZeroEngine, reference: Reference | None, watch: RoutingWatch) -> None:
        self.config, self.zero, self.reference, self.watch = config, zero, reference, watch
        self.objective = config.whole_objective
        self.routing = config.learner.routing

    @property
    def masks_unrouted(self) -> bool:
        """Whether responses without the engine's experts are left out of the loss."""
        return self.routing == "replay_rollout" and self.config.learner.missing_routing == "mask"

    @torch.no_grad()
    def part(self, batch: Batch, rows: MicroBatch, first: bool) -> Part:
        """The batch with its log-probs under the policy of the step's start and under the reference, and what its tokens replay.

        The first update needs no pass of its own: nothing has changed yet, so its old log-probs and experts are its own.
        """
        replay = batch.experts if self.routing == "replay_rollout" else None
        records = self.routing == "replay_learner" and not first
        own = self.objective.preset.old == "learner" and not first
        old = None
        if own or records or self.objective.kl.in_reward:
            recorder = Recorder(torch.int16)
            # The first update's own pass is watched instead, where it makes one here too.
            watchers = () if first else self.watch.watchers(batch)
            old = self.zero(batch, replay, (*watchers, recorder) if records else watchers)[0].detach()
            replay = recorder.recording(batch.attention) if records else replay
        reference = None if self.reference is None else self.reference(batch)
        return Part(rows=rows, batch=batch, old=old, reference=reference, replay=replay)
