"""One learner rank with spread experts: its log-probs, its gradients, and what it saves, loads and exports."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from deepspeed.utils import safe_get_full_optimizer_state
from torch import Tensor

from learner.batch.recorded import Recording
from learner.batch.row import MicroBatch, Row
from learner.batch.tensors import Batch
from learner.learner import Learner
from learner.measurement import Part
from learner.state.rank_state import RankState
from learner.weights.export import export
from learner.weights.source import ZeroWeightSource
from learner.weights.whole_experts import Published
from rollout.types import Group
from tests.toys.batches import whole_batch
from tests.toys.gradient import OBJECTIVES
from tests.toys.gradient_worker import ONE_UPDATE, Displaced
from tests.toys.rank_base import Rank, poison

SPREAD = "learner.expert_parallel=2"
CLIP = 0.5  # of a gradient whose norm is larger
LABELS = ("grpo", "dapo+tis_sequence+ratio_k3")
EXPERTS = 4


def one_group(groups: Sequence[Group]) -> Batch:
    """All responses of one group as a batch."""
    group, prompt = 1, len(groups[1].prompt.token_ids)
    rows = [
        Row(group=group, member=m, advantage=0.0, weight=1.0, prompt_tokens=prompt, tokens=prompt + len(response))
        for m, response in enumerate(groups[group].responses)
    ]
    return whole_batch(rows, groups, 0)


def elsewhere_routed(batch: Batch) -> Recording:
    """Two experts per token in each of two layers; they depend on the token alone, so not on the division."""
    places = torch.arange(2) + batch.token_ids[..., None]  # [B, S, L]
    first = places % EXPERTS
    second = (first + 1 + batch.position_ids[..., None] % (EXPERTS - 1)) % EXPERTS
    return Recording(experts=torch.stack([first, second], dim=-1).to(torch.uint8), known=batch.attention)


class Rerouted(Displaced):
    """A displaced learner whose tokens take other experts than their routers choose."""

    def _measure(self, rows: MicroBatch, groups: Mapping[int, Group], first: bool) -> Part:
        part = super()._measure(rows, groups, first)
        return replace(part, replay=elsewhere_routed(part.batch))


class ExpertRank(Rank):
    """A rank that holds half of the experts."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        found = self.measure([*overrides, SPREAD])
        learner, source = self.learner([*overrides, SPREAD])
        found["stats"], found["weights"] = self.step(learner), dict(source)
        found["proofs"] = {"learned": source.proof}
        saved = self.save(learner, name)
        fresh, loaded = self.learner([*overrides, SPREAD])
        RankState(fresh).load(saved)
        dict(loaded)
        found["proofs"]["loaded"] = loaded.proof
        found["next"] = [self.step(one) for one in (learner, fresh)]
        dict(source), dict(loaded)
        found["proofs"] |= {"gone on": source.proof, "resumed": loaded.proof}
        export(source, learner.config, self.folder / f"{name}-exported", writes=self.rank == 0)
        with torch.no_grad():
            found["last"] = learner.zero(one_group(self.groups))[0]
        if self.rank == 0:
            poison(learner)
        found["poisoned"] = self.step(learner)
        dict(source)
        found["proofs"]["poisoned"] = source.proof
        if self.rank == 0:
            torch.save(found, self.folder / f"{name}-{self.world}.pt")

    def measure(self, overrides: list[str]) -> dict[str, Any]:
        """The weights, the log-probs and the clipped gradients of a policy that does not move."""
        learner, source = self.learner([*overrides, *ONE_UPDATE, f"learner.max_grad_norm={CLIP}"], kind=Rerouted)
        batch = one_group(self.groups)
        assert learner.reference is not None
        with torch.no_grad():
            said = {
                "live": learner.zero(batch)[0],
                "rerouted": learner.zero(batch, elsewhere_routed(batch))[0],
                "reference": learner.reference(batch),
            }
        gradients, norms = {}, {}
        for label in LABELS:
            learner.objective = OBJECTIVES[label]
            norms[label] = self.step(learner)["grad_norm"]
            gradients[label] = self.moments(learner, source)
        manifest = [(entry.name, entry.dtype, entry.shape) for entry in source.manifest()]
        return {"before": dict(source), "manifest": manifest, "said": said, "gradients": gradients, "norms": norms}

    def moments(self, learner: Learner, source: ZeroWeightSource) -> list[Tensor]:
        """Adam's first moment of every tensor of the model; a collective."""
        optimizer = learner.zero.engine.optimizer
        if hasattr(optimizer, "_lazy_init_hp_params_optimizer_state"):
            # DeepSpeed links states once, when only its first group has any; spread experts are in another group.
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

        def moment(tensor: Published) -> Tensor:
            parts = [safe_get_full_optimizer_state(part, "exp_avg") for part in tensor.parts]
            return tensor.assembled(parts, torch.float32)

        return [moment(tensor) for tensor in source.tensors.values()]


class FamilyRank(Rank):
    """A rank that holds half of the experts of another family of models."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write its weights and its log-probs."""
        learner, source = self.learner([*overrides, SPREAD, f"model.path={self.folder / name.split('-')[1]}"])
        with torch.no_grad():
            said = learner.zero(one_group(self.groups))[0]
        if self.rank == 0:
            torch.save({"weights": dict(source), "said": said}, self.folder / f"{name}-{self.world}.pt")
        else:
            source.stand_by()
