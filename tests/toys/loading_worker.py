"""One learner rank that looks at its own loading: what it read, what it held meanwhile, and when AutoEP's discarded experts went."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.module_inject.auto_ep import AutoEP
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import learner.learner as of_learner
from configs.families import FAMILIES
from learner.learner import Learner
from learner.model.loading import EXPERTS
from learner.model.policy import load_policy
from learner.model.stored import Stored
from tests.toys.rank_base import Rank


class Held(TorchDispatchMode):
    """The most bytes in tensors that were alive at once, of those that any operation has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: kept for key, kept in self.alive.items() if not kept[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return result


class LoadingRank(Rank):
    """A rank that loads a model of eight layers."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what every rank found."""
        found: dict[str, Any] = {"read": [], "alive": []}
        undo = [
            replaced(Stored, "read", lambda theirs: lambda stored, tensor: found["read"].append(tensor) or theirs(stored, tensor)),
            replaced(of_learner, "load_policy", lambda theirs: lambda *given, **named: self.load(found, theirs, *given, **named)),
            replaced(AutoEP, "_replace_moe_layer_without_retarget", lambda theirs: lambda *given: self.replace(found, theirs, *given)),
        ]
        try:
            learner, source = self.learner([*overrides, f"model.path={self.folder / 'deep'}"])
        finally:
            for back in undo:
                back()
        found["weights"] = dict(source)
        policy: Any = learner.zero.module
        found["buffers"] = {part: buffer.clone() for part, buffer in policy.language_model.named_buffers()}
        found["families"] = self.families(learner) if learner.zero.partitions_parameters and not learner.zero.spread else {}
        found.pop("experts", None)
        of_all: list[Any] = [None] * self.world
        dist.all_gather_object(of_all, found)
        if self.rank == 0:
            torch.save(of_all, Path(self.folder / f"{name}-{self.world}.pt"))

    def families(self, learner: Learner) -> dict[str, dict[str, Tensor]]:
        """The parameters and buffers of a model of every family, loaded with ZeRO-3 as the learner's is. A collective."""
        found = {}
        for family in FAMILIES:
            loaded = load_policy(learner.config, str(self.folder / "families" / family), learner.zero.division).language_model
            with learner.zero.whole(list(loaded.parameters())):
                found[family] = {name: tensor.detach().clone() for name, tensor in loaded.state_dict().items()}
        return found

    def load(self, found: dict[str, Any], theirs: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Load, and see how much is held."""
        with Held() as held:
            policy = theirs(*given, **named)
        found["most"] = held.most
        found["shard"] = sum(getattr(parameter, "ds_tensor", parameter).nbytes for parameter in policy.parameters())
        found["experts"] = [weakref.ref(parameter) for part, parameter in policy.named_parameters() if part.endswith(EXPERTS)]
        return policy

    def replace(self, found: dict[str, Any], theirs: Callable[..., Any], *given: Any) -> Any:
        """Replace a block; before that, count the experts' tensors of the loaded model that are still there."""
        found["alive"].append(sum(parameter() is not None for parameter in found["experts"]))
        return theirs(*given)


def replaced(owner: Any, name: str, by: Callable[[Any], Any]) -> Callable[[], None]:
    """Put another function in a place; what puts the first one back."""
    theirs = owner.__dict__[name]
    setattr(owner, name, by(theirs))
    return lambda: setattr(owner, name, theirs)
