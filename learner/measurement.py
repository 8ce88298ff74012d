"""What is measured of a micro-batch before the step's first update: its old log-probs, and the experts that its tokens replay."""

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.presets import Objective, Preset
from configs.schema import Config
from learner.batch.costs import ratio_base
from learner.batch.fetched import Fetched
from learner.batch.recorded import ExpertShape, Recording
from learner.batch.row import MicroBatch
from learner.batch.tensors import Batch, build_batch
from learner.experts.router_shift import RouterState
from learner.experts.routing import Recorder
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.reference import Reference
from learner.model.zero import ZeroEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A micro-batch with what was measured before the step's first update."""

    rows: MicroBatch
    batch: Batch
    old_logprobs: Tensor | None = None  # [B, T], the learner's; None in the first update, whose own log-probs are the old ones
    reference_logprobs: Tensor | None = None  # [B, T]
    replay: Recording | None = None  # the experts that its tokens take in the update
    routers: RouterState | None = None  # the routers' state, for the router shift; None in the first update, where no router has moved

    @property
    def real(self) -> Tensor:
        """The tokens of the batch's `attention` [B, S]; none where a rank without rows only takes part in the collectives."""
        return self.batch.attention if self.rows else torch.zeros_like(self.batch.attention)

    def ratio_base(self, preset: Preset, old_logprobs: Tensor) -> Tensor:
        """The log-probs that the ratio is taken to [B, T]."""
        return ratio_base(preset, old_logprobs, self.batch.engine_logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The passes of a step that come before its first update and learn nothing."""

    config: Config
    objective: Objective
    zero: ZeroEngine
    reference: Reference | None
    watch: RoutingWatch
    shape: ExpertShape | None  # of recordings of the model's experts; None for a dense model

    def batch(self, rows: MicroBatch, fetched: Fetched) -> Batch:
        """The micro-batch as tensors, on the host."""
        learner = self.config.learner
        masked = learner.routing == "replay_rollout" and learner.missing_routing == "mask"
        captured = self.shape if self.config.rollout.capture_routing else None
        return build_batch(rows, fetched, 0, captured=captured, mask_unrouted=masked)

    @torch.no_grad()
    def part(self, batch: Batch, rows: MicroBatch, first: bool) -> Part:
        """Measure old and reference log-probs and the experts to replay.

        The first update needs no pass of its own: the policy has not changed yet, so the update's own log-probs and experts are the old.
        """
        routing, floor = self.config.learner.routing, self.config.objective.router_shift
        replay = batch.experts if routing == "replay_rollout" else None
        records = routing == "replay_learner" and not first
        compares = self.objective.preset.old == "learner" and not first
        routers = None if floor is None or first else RouterState(batch.prompt_width, floor)
        old = None
        if compares or records or routers is not None or self.objective.kl.in_reward:
            recorder = Recorder(torch.int16 if self.shape is None else self.shape.dtype)
            # In the first update the pass that learns is watched instead.
            watchers = (recorder if records else None, routers, *(() if first else self.watch.watchers(batch)))
            old = self.zero(batch, replay, [watcher for watcher in watchers if watcher is not None])[0].detach()
            replay = recorder.recording(batch.attention) if records else replay
        reference = None if self.reference is None else self.reference(batch)
        return Part(rows=rows, batch=batch, old_logprobs=old, reference_logprobs=reference, replay=replay, routers=routers)
