"""The ranks of the loading benchmark: one process imports everything, and each round forks its ranks from it."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.ops import __compatible_ops__
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

from benchmarks.peer import Work
from benchmarks.rounds import OUT
from configs.loader import load
from configs.schema import Config
from learner.model.loading import EXPERTS, Division
from learner.model.policy import load_policy
from learner.model.zero import fill
from learner.model.zero_config import zero_config
from learner.process_group import join_ranks
from rollout.transfer.digest import digest
from rollout.transfer.meeting import free_socket

HERE = OUT / "loading"
MODEL = HERE / "model"
PLAIN = "plain"  # one process, transformers alone, the whole model
SPREAD = "spread"  # ZeRO-2 with the experts of every layer divided over all ranks


def config_of(side: str, world: int) -> Config:
    """The tiny recipe with the benchmark's model, in bfloat16."""
    stage = f"learner.deepspeed.zero_optimization.stage={2 if side == SPREAD else 3}"
    return load(
        OUT.parents[1] / "configs" / "tiny_cpu.toml", [f"model.path={MODEL}", "model.dtype=bfloat16", f"learner.ranks={world}", stage]
    )


def gatewise(config: Config, division: Division) -> nn.Module:
    """The policy of a rank, as a run loads it."""
    module: nn.Module = load_policy(config, division=division).language_model
    return module


def transformers(config: Config, _: Division) -> nn.Module:
    """The model of a rank, as transformers alone loads it."""
    module: nn.Module = AutoModelForCausalLM.from_pretrained(config.model.path, dtype=torch.bfloat16)
    return module


LOADERS = {"gatewise": gatewise, SPREAD: gatewise, "transformers": transformers, PLAIN: transformers}


@contextmanager
def ranks(_: Config) -> Iterator[Work]:
    """Each job is one load by `world` fresh processes; the answer has what each of them measured."""
    torch.set_num_threads(1)
    yield lambda job: one_load(job["side"], job["world"])


def one_load(side: str, world: int) -> dict[str, Any]:
    """Fork the ranks, wait for them, and gather what they found; RuntimeError if one fails."""
    with free_socket("127.0.0.1") as listener:
        children = [fork(partial(load_as, side, rank, world, listener), HERE / f"rank-{rank}.json") for rank in range(world)]
        failed = [status for child in children if (status := os.waitpid(child, 0)[1])]
    if failed:
        raise RuntimeError(f"{side}: {len(failed)} of {world} ranks failed")
    found = [json.loads((HERE / f"rank-{rank}.json").read_text()) for rank in range(world)]
    return {
        "seconds": max(one["seconds"] for one in found),
        "cpu": max(one["cpu"] for one in found),
        "ranks": found,
        "digests": found[0].pop("digests"),
    }


def fork(work: Callable[[], dict[str, Any]], file: Path) -> int:
    """Start a child that writes what `work` returns; its pid."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        file.write_text(json.dumps(work()))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def load_as(side: str, rank: int, world: int, listener: Any) -> dict[str, Any]:
    """Load the model as one rank: seconds, and the process's memory in bytes before, at its peak, and in its shard.

    The kernel keeps the peak of the pages that are in memory; writing 5 to clear_refs sets it back to what is there now.
    """
    port = listener.getsockname()[1]
    device = join_ranks(rank=rank, world=world, host="127.0.0.1", port=port, deadline_s=300, listener=listener if rank == 0 else None)
    __compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    config = config_of(side, world)
    partitioned = None if side in (PLAIN, SPREAD) else HfDeepSpeedConfig(zero_config(config, world))
    division = Division(device=device, share=rank, shares=world) if side == SPREAD else Division(device=device, fill=fill)
    dist.barrier()
    Path("/proc/self/clear_refs").write_text("5")
    base, started, worked = memory("VmHWM"), time.perf_counter(), time.process_time()
    model = LOADERS[side](config, division)
    dist.barrier()
    seconds, work, peak = time.perf_counter() - started, time.process_time() - worked, memory("VmHWM")
    del partitioned
    part = {name: getattr(parameter, "ds_tensor", parameter) for name, parameter in model.named_parameters()}
    shard = sum(kept.nbytes // (world if side == SPREAD and name.endswith(EXPERTS) else 1) for name, kept in part.items())
    return {
        "seconds": seconds,
        "cpu": work,
        "base": base,
        "peak": peak,
        "shard": shard,
        "digests": digests(model, EXPERTS if side == SPREAD else ()),
    }


def memory(what: str) -> int:
    """A figure of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def digests(model: nn.Module, divided: tuple[str, ...]) -> dict[str, str]:
    """Sums over the bytes of every parameter but those with these ends, of which a rank has a part. A collective under ZeRO-3."""
    found = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            if not name.endswith(divided):
                found[name] = str(digest(parameter))
    return found
