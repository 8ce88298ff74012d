"""One learner rank that learns with live and with replayed experts, and writes its gradients and metrics."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from configs.loader import load
from configs.presets import PRESETS, Kl, Objective
from learner.batch.row import Row
from learner.experts.routing import Recorder
from learner.learner import Learner
from rollout.types import Group
from tests.toys.batches import whole_batch
from tests.toys.gradient_worker import moment
from tests.toys.rank_base import Rank
from tests.toys.ranks import LIVE, R2, R3

# With a beta of 0 Adam's first moment is the gradient.
PLAIN = ["learner.betas=[0.0, 0.999]", "learner.max_grad_norm=1e9", "rollout.capture_routing=true", 'kl.reference="initial"']
OBJECTIVES = {
    "plain": Objective(preset=PRESETS["grpo"]),
    "engine": Objective(preset=PRESETS["grpo"].replace(old="engine")),
    "kl in reward": Objective(preset=PRESETS["rloo"], kl=Kl(coefficient=0.1, estimator="k1", place="reward")),
}


class Pace(Learner):
    """A learner whose learning rate the test sets."""

    pace = 0.0

    def _lr(self) -> float:
        return self.pace


class ReplayRank(Rank):
    """A rank that replays."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write gradients and metrics of one update for each routing, and of two updates for each routing and objective."""
        twice = [*overrides, *PLAIN]
        once = [*twice, "learner.updates_per_step=1"]
        learner = self.learner(twice, kind=Pace)[0]
        own, other = (self.with_experts(learner, shift) for shift in (0, 1))
        found: dict[str, Any] = {"gradients": {}, "stats": {}, "passes": 1 + learner.config.learner.gradient_checkpointing}
        for case, (routing, groups) in {"live": (LIVE, own), "own": (R3, own), "other": (R3, other), "none": (R3, self.groups)}.items():
            found["stats"][case] = self.step_with(learner, groups, [*once, routing])
            found["gradients"][case] = [moment(learner, p) for p in learner.zero.module.parameters()]
        found["names"] = [parameter for parameter, _ in learner.zero.module.named_parameters()]
        torn = [replace(own[0], responses=(replace(own[0].responses[0], routed_experts=None), *own[0].responses[1:])), *own[1:]]
        for missing in ("live", "mask"):
            found["stats"][f"torn, {missing}"] = self.step_with(learner, torn, [*once, R3, f"learner.missing_routing={missing}"])
        found["torn tokens"] = len(torn[0].responses[0])
        for label, objective in OBJECTIVES.items():
            learner.objective = objective
            for routing in (R2, R3):
                found["stats"][routing, label] = self.step_with(learner, other, [*twice, routing])
        for label in ("plain", "engine"):
            learner.objective = OBJECTIVES[label]
            found["first layer", label] = self.moving(learner, [*twice, R2])
        if self.rank == 0:
            torch.save(found, self.folder / f"{name}-{self.world}.pt")

    def step_with(self, learner: Learner, groups: Sequence[Group], overrides: Sequence[str]) -> dict[str, float]:
        """One step of the same learner under another config."""
        learner.config = load(self.folder / "config.toml", [*overrides, f"learner.ranks={self.world}"])
        return self.step(learner, groups)

    def with_experts(self, learner: Learner, shift: int) -> list[Group]:
        """The groups with recordings of the experts that the learner takes, every number increased by `shift`."""
        recorder = Recorder(torch.uint8)
        rows = [
            Row(group=g, member=m, advantage=0.0, weight=0.0, prompt_tokens=len(group.prompt.token_ids), tokens=0)
            for g, group in enumerate(self.groups)
            for m in range(len(group.responses))
        ]
        batch = whole_batch(rows, self.groups, 0)
        with torch.no_grad():
            learner.zero(batch, None, (recorder,))
        experts = (recorder.recording(batch.attention).experts + shift) % 4
        recorded = {(row.group, row.member): experts[i, batch.attention[i]].numpy() for i, row in enumerate(rows)}
        return [
            replace(group, responses=tuple(replace(r, routed_experts=recorded[g, m]) for m, r in enumerate(group.responses)))
            for g, group in enumerate(self.groups)
        ]

    def moving(self, learner: Pace, overrides: Sequence[str]) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Of every call of the first layer: its live choice, the experts taken, and the tokens with a recording.

        The step is R2, and its updates move the router far.
        """
        routing = learner.zero.module.routing
        take, calls = routing.take, []

        def watched(layer: int, probs: Tensor, top_k: int) -> Tensor:
            taken: Tensor = take(layer, probs, top_k)
            if layer == 0:
                known = routing.now.known
                calls.append((probs.detach().topk(top_k).indices, taken, None if known is None else known[:, 0]))
            return taken

        routing.take, learner.pace = watched, 0.1
        try:
            self.step_with(learner, self.groups, overrides)
        finally:
            routing.take, learner.pace = take, 0.0
        return calls
