"""What is measured of a micro-batch before the step's first update: the log-probs and the experts that later updates are held to."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.schema import Config
from learner.batch.plan import MicroBatch
from learner.batch.recorded import ExpertShape, Recording
from learner.batch.tensors import Batch, build_batch
from learner.experts.router_shift import RouterState
from learner.experts.routing import Recorder
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.reference import Reference
from learner.model.zero import ZeroEngine
from rollout.types import Group


def asked_of_routers(config: Config) -> str:
    """The first setting of a config that needs routers to follow, as one would write it; empty where there is none."""
    learner, shift = config.learner, config.objective.router_shift
    asked = {
        f'learner.routing = "{learner.routing}"': learner.routing != "live",
        f'learner.router = "{learner.router}"': learner.router != "trained",
        f"learner.aux_loss = {learner.aux_loss}": learner.aux_loss > 0,
        f"objective.router_shift = {shift}": shift is not None,
    }
    return next((words for words, given in asked.items() if given), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A micro-batch with what was measured before the step's first update."""

    rows: MicroBatch
    batch: Batch
    old: Tensor | None  # [B, T], the learner's log-probs; None where the first update's own are the same
    reference: Tensor | None  # [B, T]
    replay: Recording | None = None  # the experts that its tokens take in the update
    routers: RouterState | None = None  # what the routers said, for the router shift; None in the first update, where none has moved

    @property
    def real(self) -> Tensor:
        """The tokens [B, S] of prompts and responses; none where a rank only joins in."""
        return self.batch.attention if self.rows else torch.zeros_like(self.batch.attention)


class Measurement:
    """The passes of a step that learn nothing; recordings of experts have `shape`, which a dense model does not have."""

    def __init__(
        self, config: Config, zero: ZeroEngine, reference: Reference | None, watch: RoutingWatch, shape: ExpertShape | None
    ) -> None:
        self.config, self.zero, self.reference, self.watch, self.shape = config, zero, reference, watch, shape
        self.objective = config.whole_objective
        self.routing = config.learner.routing

    def batch(self, rows: MicroBatch, groups: Mapping[int, Group]) -> Batch:
        """The micro-batch as tensors, on the host."""
        masked = self.routing == "replay_rollout" and self.config.learner.missing_routing == "mask"
        captured = self.shape if self.config.rollout.capture_routing else None
        return build_batch(rows, groups, 0, captured=captured, mask_unrouted=masked)

    @torch.no_grad()
    def part(self, batch: Batch, rows: MicroBatch, first: bool) -> Part:
        """The batch with its log-probs under the policy of the step's start and under the reference, and what its tokens replay.

        The first update needs no pass of its own: nothing has changed yet, so its old log-probs and experts are its own.
        """
        replay = batch.experts if self.routing == "replay_rollout" else None
        records = self.routing == "replay_learner" and not first
        own = self.objective.preset.old == "learner" and not first
        old = None
        floor = self.config.objective.router_shift
        routers = None if floor is None or first else RouterState(batch.prompt_width, floor)
        if own or records or routers is not None or self.objective.kl.in_reward:
            recorder = Recorder(torch.int16 if self.shape is None else self.shape.dtype)
            # The first update's own pass is compared instead, where it makes one here too.
            seen = (recorder if records else None, routers, *(() if first else self.watch.watchers(batch)))
            old = self.zero(batch, replay, [watcher for watcher in seen if watcher is not None])[0].detach()
            replay = recorder.recording(batch.attention) if records else replay
        reference = None if self.reference is None else self.reference(batch)
        return Part(rows=rows, batch=batch, old=old, reference=reference, replay=replay, routers=routers)
