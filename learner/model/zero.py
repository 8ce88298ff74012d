"""DeepSpeed: a policy sharded by ZeRO, updated and gathered. Beside it only `masters.py` knows how DeepSpeed keeps what it trains."""

import math
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")

import deepspeed
from deepspeed.ops import __compatible_ops__
from deepspeed.runtime.zero import stage_1_and_2
from transformers.integrations import HfDeepSpeedConfig

from configs.families import Family, family_of
from configs.schema import Config
from learner.model.loading import Division
from learner.model.policy import Policy
from learner.model.precision import apply_precision
from learner.model.zero_config import expert_settings, is_plain, zero_config
from learner.process_group import gather_in_place

PARTITIONED = 3  # the ZeRO stage that partitions parameters too
Refuses = Callable[[float], bool]  # gets the global norm of a gradient, which is finite


class ZeroEngine:
    """A policy under ZeRO: forward, backward, update, and whole parameters when asked.

    `build` makes the policy, of which a rank keeps what `division` says. Under ZeRO-3 it is called while DeepSpeed's partitioned loading
    is on, so no rank ever holds the policy whole.
    """

    def __init__(self, config: Config, build: Callable[[Division], Policy], device: torch.device, world: int) -> None:
        if device.type == "cpu":
            # Else the first start compiles a shared-memory collective for half a minute; gloo does its work here.
            __compatible_ops__["deepspeed_shm_comm"] = False
            stage_1_and_2.all_gather_dp_groups = gather_updated  # by which ZeRO-1 and 2 end an update
        deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", auto_mpi_discovery=False)
        settings = zero_config(config, world, on_cpu=device.type == "cpu")
        self.stage, self.world = config.learner.zero_stage, world
        self.learner, self.is_plain = config.learner, is_plain(config)
        # transformers loads partitioned for as long as this object lives.
        self._partitioned_loading = HfDeepSpeedConfig(settings) if self.partitions_parameters else None
        shares = 1 if self.partitions_parameters else config.learner.expert_parallel  # of consecutive ranks, as DeepSpeed groups them
        self.division = Division(
            device=device, fill=fill if self.partitions_parameters else None, share=dist.get_rank() % shares, shares=shares
        )
        policy = build(self.division)
        self.family: Family = family_of(policy.config.model_type)
        kept = family_buffers(policy, self.family)
        # As the model itself names them: AutoEP gives its blocks other parameters.
        self.shapes = {name: full_shape(p) for name, p in policy.named_parameters()}
        self.spread = expert_settings(config, policy.config.model_type, device)
        self.engine, *_ = deepspeed.initialize(model=policy, model_parameters=trained(policy), config=settings | self.spread)
        if hasattr(self.engine.optimizer, "check_grad_overflow"):
            self.engine.optimizer.check_grad_overflow = True
        if self.stage == 0:
            self.engine.enable_backward_allreduce = False  # `_plain_update` has reduced the gradient by then
        restore_buffers(policy, kept)
        apply_precision(policy, config.learner)  # after DeepSpeed has replaced blocks

    def buffers(self) -> dict[str, torch.Tensor]:
        """The buffers that belong to the weights, by the policy's names."""
        return family_buffers(self.module, self.family)

    @property
    def partitions_parameters(self) -> bool:
        """Whether parameters are whole only while gathered: ZeRO-3."""
        return self.stage == PARTITIONED

    @property
    def module(self) -> nn.Module:
        return self.engine.module

    @property
    def expert_group(self) -> dist.ProcessGroup | None:
        """The ranks that hold the experts of a layer together, in the experts' order; None where every rank has them all."""
        return self.engine.expert_parallel_group[f"ep_size_{self.learner.expert_parallel}"] if self.spread else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.engine(*args, **kwargs)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of this rank's share of a sum over all ranks, which DeepSpeed would average."""
        self.engine.backward(loss * self.world, scale_wrt_gas=False)

    def update(self, lr: float, refuses: Refuses | None = None) -> tuple[float, bool]:
        """Apply the gathered gradient; its global norm before clipping, and whether it was applied.

        A gradient that is not finite on any rank is dropped on all of them. So is one whose norm `refuses`, on which ranks must agree.
        """
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        if self.stage == 0:
            return self._plain_update(refuses)
        skipped = self.engine.skipped_steps
        with judged(self.engine.optimizer, refuses) as refused:
            self.engine.step()
        norm = refused[0] if refused else self.engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm), self.engine.skipped_steps == skipped

    def _plain_update(self, refuses: Refuses | None) -> tuple[float, bool]:
        """Without ZeRO, DeepSpeed neither reports nor checks the norm. So the gradient is averaged, judged and clipped here."""
        parameters = [p for p in self.engine.module.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:  # on another rank it may have one
                parameter.grad = torch.zeros_like(parameter)
        grads = [p.grad for p in parameters if p.grad is not None]
        if self.world > 1:
            whole = torch.cat([grad.flatten() for grad in grads]).to(self.engine.communication_data_type)
            dist.all_reduce(whole)
            whole /= self.world
            for grad, mean in zip(grads, whole.split([grad.numel() for grad in grads]), strict=True):
                grad.copy_(mean.view_as(grad))
        norm = torch.nn.utils.get_total_norm(grads)
        if not math.isfinite(norm) or (refuses is not None and refuses(float(norm))):
            self.engine.optimizer.zero_grad()
            return float(norm), False
        if self.is_plain:  # in bfloat16 DeepSpeed clips the float32 copies
            torch.nn.utils.clip_grads_with_norm_(parameters, float(self.learner.max_grad_norm), norm)
        self.engine.step()
        return float(norm), True

    @contextmanager
    def whole(self, parameters: Sequence[torch.Tensor]) -> Iterator[None]:
        """Within: every given parameter is whole on every rank. A collective; nothing may be written."""
        with deepspeed.zero.GatheredParameters(list(parameters), enabled=self.partitions_parameters):
            yield

    def drop_gathered(self) -> None:
        """Gather every parameter again at its next use. Call it after writing to shards.

        Under ZeRO-3 small parameters stay whole beside their shards, and others may be left over from the last pass.
        """
        if self.partitions_parameters:
            self.engine.optimizer.parameter_offload.partition_all_parameters()

    def scratch(self) -> list[torch.Tensor]:
        """The buckets in which gradients are reduced: nothing in them is needed between two steps."""
        buckets = getattr(self.engine.optimizer, "ipg_buckets", {}).values()
        held = [bucket.buffer for bucket in buckets if bucket.buffer is not None]
        return [tensor for buffer in held for tensor in (buffer if isinstance(buffer, list) else [buffer])]


@contextmanager
def judged(optimizer: Any, refuses: Refuses | None) -> Iterator[list[float]]:
    """Within: an update of ZeRO whose norm `refuses` is dropped. The list gets the norm of a dropped one.

    Every optimizer of DeepSpeed asks its module's `is_invalid_grad_norm` about the global norm before it changes anything, and drops the
    update where that says so. Nothing else would clear its buffers of gradients alike under every stage and offload.
    """
    refused: list[float] = []
    if refuses is None:
        yield refused
        return
    module: Any = sys.modules[type(optimizer).__module__]
    is_invalid = module.is_invalid_grad_norm

    def is_invalid_or_refused(norm: Any) -> bool:
        if is_invalid(norm):
            return True
        if refuses(float(norm)):
            refused.append(float(norm))
        return bool(refused)

    module.is_invalid_grad_norm = is_invalid_or_refused
    try:
        yield refused
    finally:
        module.is_invalid_grad_norm = is_invalid


def gather_updated(
    *, partitioned_param_groups: Sequence[Sequence[torch.Tensor]], dp_process_group: Sequence[dist.ProcessGroup], **_: Any
) -> None:
    """Bring the parts of the weights that each rank has updated to all ranks; arguments are those of DeepSpeed's `all_gather_dp_groups`."""
    for parts, group in zip(partitioned_param_groups, dp_process_group, strict=True):
        gather_in_place(parts, group)


def hold_frozen(policy: Policy, zero: ZeroEngine, device: torch.device) -> Any:
    """A policy that is never trained: sharded as `zero` shards parameters and experts, else whole on this rank's device."""
    policy.requires_grad_(False)
    policy.eval()
    if not zero.partitions_parameters and not zero.spread:
        apply_precision(policy, zero.learner)
        return policy.to(device)
    # Nothing persists whole on a rank, so that a shard is all there is to write when the weights are replaced.
    partitioned = {"stage": PARTITIONED, "stage3_param_persistence_threshold": 0}
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "train_batch_size": zero.world,
        # Without ZeRO-3 the weights keep the precision that they were loaded in, and need no float32 masters.
        "bf16": {"enabled": zero.partitions_parameters and zero.engine.bfloat16_enabled()},
        "zero_optimization": partitioned if zero.partitions_parameters else {"stage": 0},
        "steps_per_print": 10**9,
    }
    kept = family_buffers(policy, family_of(policy.config.model_type))
    engine, *_ = deepspeed.initialize(model=policy, config=settings | zero.spread)
    restore_buffers(policy, kept)
    engine.eval()
    apply_precision(policy, zero.learner)
    return engine


def trained(policy: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters to train, found when DeepSpeed asks for them, which it does after AutoEP has replaced blocks.

    A list would keep every expert that AutoEP discards until the last block is replaced. The order is the one in which DeepSpeed itself
    brings such a list up to date: first those that were there before, then the replacements.
    """
    before = [weakref.ref(parameter) for parameter in policy.parameters() if parameter.requires_grad]

    def now() -> Iterator[nn.Parameter]:
        there = {id(parameter): parameter for parameter in policy.parameters() if parameter.requires_grad}
        yield from [there.pop(id(parameter)) for seen in before if (parameter := seen()) is not None and id(parameter) in there]
        yield from there.values()

    return now()


def fill(parameter: Any, value: torch.Tensor | None, reader: int) -> None:
    """Give a parameter of ZeRO-3 its whole `value`, which only the rank `reader` has. A collective."""
    shard: torch.Tensor = parameter.ds_tensor
    if not writable(parameter):
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=reader):
            if value is not None:
                parameter.data.copy_(value)
        return
    parts = None
    if value is not None:
        # As DeepSpeed divides a parameter: equal parts of the flat numbers, and what the last ones lack is filled up.
        parts = list(value.contiguous().view(-1).split(shard.numel()))
        parts += [value.new_zeros(shard.numel()) for _ in range(dist.get_world_size() - len(parts))]
        parts = [nn.functional.pad(part, (0, shard.numel() - len(part))) if len(part) < shard.numel() else part for part in parts]
    device = deepspeed.get_accelerator().current_device_name()
    mine = shard if shard.device == torch.device(device) else torch.empty_like(shard, device=device)
    dist.scatter(mine, parts, src=reader)
    if mine is not shard:
        shard.copy_(mine)


def writable(parameter: Any) -> bool:
    """Whether a parameter's shards are its equal parts on all ranks, as `plain` says."""
    return plain(parameter) and parameter.ds_process_group == dist.group.WORLD


def plain(parameter: Any) -> bool:
    """Whether the shards of a parameter are equal parts, in memory and in its own type: no second shards, quantisation or NVMe."""
    shard = parameter.ds_tensor
    whole_type = shard.dtype == parameter.dtype and getattr(shard, "final_location", None) is None
    return whole_type and getattr(parameter, "ds_secondary_tensor", None) is None


def family_buffers(policy: nn.Module, family: Family) -> dict[str, torch.Tensor]:
    """The buffers of a policy that its family counts among the weights."""
    return {name: buffer for name, buffer in policy.named_buffers() if name.endswith(family.buffers)} if family.buffers else {}


def restore_buffers(policy: nn.Module, kept: dict[str, torch.Tensor]) -> None:
    """Give buffers back the type and values that DeepSpeed rounded when it cast the model to bfloat16."""
    for name, buffer in kept.items():
        owner, _, leaf = name.rpartition(".")
        module = policy.get_submodule(owner)
        setattr(module, leaf, buffer.to(getattr(module, leaf).device))


def shards(policy: nn.Module) -> dict[str, torch.Tensor]:
    """This rank's part of every parameter; the whole of it but under ZeRO-3."""
    return {name: getattr(p, "ds_tensor", p).detach() for name, p in policy.named_parameters()}


def full_shape(parameter: nn.Parameter) -> tuple[int, ...]:
    """The parameter's whole shape; under ZeRO-3 `parameter.shape` is that of an empty placeholder."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
