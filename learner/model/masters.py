"""Where DeepSpeed keeps what training changes: float32 masters and AdamW's moments, by parameter, under every ZeRO stage.

stage 0, float32    the parameters themselves; moments of each parameter          whole on every rank
stage 0, bfloat16   a float32 copy of each parameter; moments of each copy        whole on every rank
stages 1 and 2      one flat part of all parameters of a group, and its moments   a part on each rank
stage 3             an equal part of every parameter, flat by sub-group           a part on each rank
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learner.model.zero import ZeroEngine

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Numbers of one parameter that this rank keeps, one after another. Writing to `weights` changes them."""

    parameter: str  # as this rank's model names it
    start: int  # of the first one among the parameter's flat numbers
    weights: Tensor  # [n]: the masters, or the parameter's own where it has none
    owner: Tensor | None = None  # the tensor that AdamW has moments for; None for a parameter that is not trained
    offset: int = 0  # of the first one in the owner's flat numbers
    copy: int = 0  # which of the `copies` of these numbers this rank has: a checkpoint needs one
    copies: int = 1


def parts(zero: ZeroEngine) -> Iterator[Part]:
    """What this rank keeps of every parameter of the policy."""
    of_trained = keeper(zero)
    for name, parameter in zero.module.named_parameters():
        yield from of_trained(name, parameter) if parameter.requires_grad else untrained(name, parameter, zero)


def frozen_parts(module: nn.Module, zero: ZeroEngine) -> Iterator[Part]:
    """What this rank keeps of every parameter of a policy that is never trained, and divided as `zero` divides its own."""
    for name, parameter in module.named_parameters():
        yield from untrained(name, parameter, zero)


def keeper(zero: ZeroEngine) -> Callable[[str, Any], Iterator[Part]]:
    """The function that finds a trained parameter's part, for this kind of optimizer."""
    optimizer = zero.engine.optimizer
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        return partial(in_sub_groups, optimizer)
    if hasattr(optimizer, "update_lp_params"):
        return partial(in_flat_groups, flat_groups(optimizer))
    masters = {id(half): copy for half, copy in beside(optimizer)}

    def without_zero(name: str, parameter: Any) -> Iterator[Part]:
        yield whole(name, parameter, zero, masters.get(id(parameter), parameter))

    return without_zero


def beside(optimizer: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Without ZeRO: the bfloat16 parameters, and the float32 copy of each. None for float32 parameters."""
    for halves, copies in zip(getattr(optimizer, "fp16_groups", ()), getattr(optimizer, "fp32_groups", ()), strict=True):
        yield from zip(halves, copies, strict=True)


def in_sub_groups(optimizer: Any, name: str, parameter: Any) -> Iterator[Part]:
    """ZeRO-3: an equal part of the parameter; the last ones are filled up with numbers that mean nothing."""
    group, offset, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
    start = parameter.ds_zero_partition_rank * size
    count = min(size, parameter.ds_numel - start)
    if count > 0:
        flat = optimizer.fp32_partitioned_groups_flat[group]
        yield Part(parameter=name, start=start, weights=flat.detach()[offset : offset + count], owner=flat, offset=offset)


class Flat(NamedTuple):
    """Where a parameter begins in the flat numbers of its group, of which this rank has `mine` from the number `first` on."""

    begin: int
    first: int
    mine: Tensor


def flat_groups(optimizer: Any) -> dict[int, Flat]:
    """ZeRO 1 and 2: the place of every trained parameter, by its id. DeepSpeed may reorder and pad them."""
    if hasattr(optimizer, "fp32_groups_flat_partition"):  # bfloat16 with float32 gradients
        groups, flats = optimizer.bf16_groups, optimizer.fp32_groups_flat_partition
        begins = [[0, *accumulate(parameter.numel() for parameter in group)][:-1] for group in groups]
    else:
        groups, flats = optimizer.round_robin_bit16_groups, optimizer.single_partition_of_fp32_groups
        begins = optimizer.round_robin_bit16_offsets
    firsts = [dist.get_rank(ranks) * len(flat) for ranks, flat in zip(optimizer.real_dp_process_group, flats, strict=True)]
    return {
        id(parameter): Flat(begin, first, flat)
        for group, of_group, first, flat in zip(groups, begins, firsts, flats, strict=True)
        for parameter, begin in zip(group, of_group, strict=True)
    }


def in_flat_groups(places: dict[int, Flat], name: str, parameter: Any) -> Iterator[Part]:
    """ZeRO 1 and 2: what of the parameter lies in this rank's part of its group."""
    begin, first, mine = places[id(parameter)]
    start, end = max(begin, first), min(begin + parameter.numel(), first + len(mine))
    if start < end:
        weights = mine.detach()[start - first : end - first]
        yield Part(parameter=name, start=start - begin, weights=weights, owner=mine, offset=start - first)


def untrained(name: str, parameter: Any, zero: ZeroEngine) -> Iterator[Part]:
    """A parameter without an optimizer, in its own type."""
    if not hasattr(parameter, "ds_tensor"):
        yield whole(name, parameter, zero, None)
        return
    shard = parameter.ds_tensor
    start = parameter.ds_zero_partition_rank * shard.numel()
    count = min(shard.numel(), parameter.ds_numel - start)
    if count > 0:
        yield Part(parameter=name, start=start, weights=shard.detach().view(-1)[:count])


def whole(name: str, parameter: Any, zero: ZeroEngine, owner: Tensor | None) -> Part:
    """All of a parameter. Every rank has it, or every rank with the same share of the experts."""
    rank, spread = dist.get_rank(), zero.learner.expert_parallel
    is_expert = not getattr(parameter, "allreduce", True)
    copy, copies = (rank // spread, zero.world // spread) if is_expert else (rank, zero.world)
    held = parameter if owner is None else owner
    return Part(parameter=name, start=0, weights=held.detach().view(-1), owner=owner, copy=copy, copies=copies)


class Moments:
    """AdamW's moments and step counts, by the tensor that they belong to."""

    def __init__(self, zero: ZeroEngine) -> None:
        optimizer = zero.engine.optimizer
        self.first = getattr(optimizer, "optimizer", optimizer)
        # With only a part of the optimizer in host memory, DeepSpeed has a second AdamW for the part on the GPU.
        self.second = getattr(optimizer, "backup_optimizer", None)

    def of(self, part: Part) -> dict[str, Tensor]:
        """Both moments [n] of a part; empty for what AdamW has not updated yet."""
        state = self._state(part.owner)
        end = part.offset + len(part.weights)
        return {name: state[name].detach().view(-1)[part.offset : end] for name in MOMENTS if name in state}

    def steps(self, part: Part) -> int:
        """How often AdamW has updated a part."""
        return int(self._state(part.owner).get("step", 0))

    def begin(self, part: Part, steps: int) -> None:
        """Let a part have moments, all 0 if it had none, and `steps` behind it."""
        owner = part.owner
        assert owner is not None
        state = self._state(owner)
        if not state and steps:
            optimizer = self.first if self.second is None or owner.device.type == "cpu" else self.second
            state = optimizer.state[owner]
            # DeepSpeed's own AdamW counts in Python, torch's in a tensor.
            state["step"] = torch.zeros((), dtype=torch.float32) if isinstance(optimizer, torch.optim.AdamW) else 0
            state |= {name: torch.zeros_like(owner.detach()) for name in MOMENTS}
        if state:
            state["step"] = torch.full_like(state["step"], steps) if isinstance(state["step"], Tensor) else steps

    def forget(self) -> None:
        """Set AdamW back to its beginning, with the weights as they are."""
        for optimizer in (self.first, self.second):
            for state in optimizer.state.values() if optimizer is not None else ():
                for name, value in state.items():
                    state[name] = value.zero_() if isinstance(value, Tensor) else type(value)(0)

    def _state(self, owner: Tensor | None) -> dict[str, Any]:
        found = [optimizer.state[owner] for optimizer in (self.first, self.second) if optimizer is not None and owner in optimizer.state]
        return found[0] if found else {}


def release(zero: ZeroEngine) -> None:
    """Drop what is gathered of parameters whose shards are about to change. A collective."""
    if zero.partitions_parameters:
        zero.engine.optimizer.checkpoint_event_prologue()


def adopt(zero: ZeroEngine) -> None:
    """Round the masters into the weights that passes use, as an update does. A collective."""
    optimizer = zero.engine.optimizer
    if zero.partitions_parameters:
        for group in range(len(optimizer.fp32_partitioned_groups_flat)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        optimizer.checkpoint_event_epilogue()
    elif hasattr(optimizer, "update_lp_params"):
        optimizer.update_lp_params()
        for group in range(len(getattr(optimizer, "bit16_groups", ()))):
            optimizer._update_model_bit16_weights(group)
    else:
        for half, copy in beside(optimizer):
            half.data.copy_(copy.data)
