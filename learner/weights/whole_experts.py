"""The tensors that a publish sends, made of what a rank holds.

Without expert parallelism they are the model's parameters and the family's buffers. AutoEP replaces the parameters of a mixture's layers
and gives each rank a share of the experts:

    mlp.router.gate.weight                 ->  mlp.gate.weight
    mlp.experts.w1, mlp.experts.w3         ->  mlp.experts.gate_up_proj  [E, 2I, H] of each rank's [E/n, I, H], twice
    mlp.experts.w2                         ->  mlp.experts.down_proj     [E, H, I] of each rank's [E/n, H, I]
    mlp.shared_experts, .shared_experts_gate ->  mlp.shared_expert, mlp.shared_expert_gate
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from configs.families import BLOCK, DOWN, GATE_UP, Family

RENAMED = {
    ".mlp.gate.": ".mlp.router.gate.",
    ".mlp.shared_expert.": ".mlp.shared_experts.",
    ".mlp.shared_expert_gate.": ".mlp.shared_experts_gate.",
}
SPREAD = {".experts.gate_up_proj": (".experts.w1", ".experts.w3"), ".experts.down_proj": (".experts.w2",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One tensor of the model, and the parameters of this rank that it is made of."""

    name: str  # the family's own on disk, with experts fused as vLLM takes them
    shape: tuple[int, ...]
    parts: tuple[Tensor, ...]
    group: dist.ProcessGroup | None  # the ranks that hold its experts together, in their order; None where this rank has it whole
    dtype: torch.dtype | None = None  # of a buffer, which keeps its own; None for a parameter

    def live(self, values: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """The same without a copy where this rank has the tensor whole; it then has its own dtype."""
        return values[0].detach() if self.group is None else self.assembled(values, dtype)

    def assembled(self, values: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """The tensor made of its parts' values, as a copy of its own. A collective where experts are spread."""
        if self.group is None:
            return values[0].detach().to(self.dtype or dtype, copy=True)
        mine = torch.cat([value.detach().to(dtype) for value in values], dim=1)
        whole = mine.new_empty(self.shape)
        dist.all_gather(list(whole.chunk(dist.get_world_size(self.group))), mine, group=self.group)
        return whole


def published(
    shapes: Mapping[str, tuple[int, ...]],
    parameters: Mapping[str, nn.Parameter],
    buffers: Mapping[str, Tensor],
    group: dist.ProcessGroup | None,
    family: Family,
) -> dict[str, Published]:
    """The tensors of a model by transformers' names: parameters in the order of `shapes`, then buffers."""
    found = {name: _find(name, shape, parameters, group, family) for name, shape in shapes.items()}
    return found | {
        name: Published(name=engine_name(name, family), shape=tuple(buffer.shape), parts=(buffer,), group=None, dtype=buffer.dtype)
        for name, buffer in buffers.items()
    }


def engine_name(name: str, family: Family) -> str:
    """A tensor's name in transformers as the engine and the family's checkpoints call it."""
    names = family.names
    name = name.replace(f".{BLOCK}.experts.{GATE_UP}", f".{BLOCK}.experts.{names.gate_up}")
    name = name.replace(f".{BLOCK}.experts.{DOWN}", f".{BLOCK}.experts.{names.down}")
    return name.replace(f".{BLOCK}.", f".{names.block}.")


def _find(
    name: str, shape: tuple[int, ...], parameters: Mapping[str, nn.Parameter], group: dist.ProcessGroup | None, family: Family
) -> Published:
    called = engine_name(name, family)
    if name in parameters:
        return Published(name=called, shape=shape, parts=(parameters[name],), group=None)
    for fused, leaves in SPREAD.items():
        if name.endswith(fused):
            stem = name.removesuffix(fused)
            return Published(name=called, shape=shape, parts=tuple(parameters[stem + leaf] for leaf in leaves), group=group)
    for ours, theirs in RENAMED.items():
        name_there = name.replace(ours, theirs)
        if name_there in parameters:
            return Published(name=called, shape=shape, parts=(parameters[name_there],), group=None)
    raise KeyError(f"{name} is in the model, but DeepSpeed holds no parameter of that name")
