"""The default process group of the learner ranks: gloo on CPU, NCCL on GPU; the ranks meet at an address of rank 0."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from rollout.transfer.meeting import open_store


def join_ranks(
    *, rank: int, world: int, host: str, port: int, deadline_s: float, listener: socket.socket | None, gpu: bool = False
) -> torch.device:
    """Join the default group as `rank` and return the device of this rank. Rank 0 passes the listening socket.

    RuntimeError if the run is on GPUs and torch can use none here.
    """
    if gpu and not torch.cuda.is_available():
        raise RuntimeError(
            f"torch {torch.__version__} (CUDA {torch.version.cuda}) can use no GPU on the node of learner rank {rank}, where "
            f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}: `nvidia-smi` there must show one, and a driver "
            "that is new enough for this CUDA (580 for CUDA 13)"
        )
    backend = "nccl" if gpu else "gloo"
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK="0", MASTER_ADDR=host, MASTER_PORT=str(port))
    if host in ("127.0.0.1", "localhost", "::1"):
        # Without an interface name gloo listens on the host's external address.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = open_store(host, port, world, deadline_s, listener)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timedelta(seconds=deadline_s))
    device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all ranks; the same shape on every rank."""
    total = values.clone()
    dist.all_reduce(total)
    return total


def max_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The elementwise maximum of a tensor over all ranks; the same shape on every rank."""
    most = values.clone()
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return most


def largest_over_ranks(values: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` largest of all ranks' values [N] -> [count], in descending order, filled up with -inf."""
    mine = torch.full((count,), -torch.inf, dtype=values.dtype, device=values.device)
    top = values.topk(min(count, values.numel())).values
    mine[: top.numel()] = top
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    return torch.cat(gathered).topk(count).values


def gather_in_place(parts: Sequence[torch.Tensor], group: dist.ProcessGroup | None) -> None:
    """Give every rank of a gloo group all parts, contiguous, of which rank k has part k: the others are overwritten. A collective.

    gloo's own gather puts all parts together in new memory and copies them from there, which takes four times as long.
    """
    if dist.get_world_size(group) > 1:
        leaving = [dist.broadcast(part.view(torch.uint8), group=group, group_src=k, async_op=True) for k, part in enumerate(parts)]
        for work in leaving:
            assert work is not None, "this rank is of the group"
            work.wait()
