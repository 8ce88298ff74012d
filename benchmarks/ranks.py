"""A step of two learner ranks under ZeRO-1 and ZeRO-2 against torch's DDP and FSDP2 on the same rows, for a model above 100M parameters.

Every rank has one thread. The references are given their batches and write out PPO's clipped loss, as `benchmarks.learner`'s loop does; the
ranks of the learner make their batches from groups. Both are padded. One update a step, so nobody needs a pass for old log-probs.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from benchmarks.learner import ask, clipped_loss, logprobs_under
from benchmarks.mixture import DEEP, keys, random_groups, write_mixture
from benchmarks.peer import Peer, Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env
from configs.loader import load
from configs.schema import Config

RANKS = 2
OURS, THEIRS = ("zero1", "zero2"), ("ddp", "fsdp2")
SIDE, MEET = "BENCH_SIDE", "BENCH_PORT"
ROUNDS = 9
Make = Callable[[Config, int, Any], Work]


def measure(size: Size) -> list[Row]:
    """Rounds of one step by each side, on the same rows; against DDP and then against FSDP2, as all at once need more than 24 GB."""
    write_mixture(DEEP)
    few = Size(warm_up=1, rounds=min(size.rounds, ROUNDS), steps=0, runs=0)
    return [row for theirs in THEIRS for row in against(theirs, few)]


def against(theirs: str, size: Size) -> list[Row]:
    """The rows of both ZeRO stages against one other side."""
    fixed = ["rollout.groups_per_step=4", f"learner.ranks={RANKS}", "learner.packing=false", "learner.micro_batch_tokens=1024"]
    overrides = [*keys(DEEP), *fixed, f"run.dir={OUT / 'ranks'}"]
    env = learner_env(load(CONFIG, overrides), gpu=False) | {"OMP_NUM_THREADS": "1"}
    sides = (*OURS, theirs)
    with peers({f"ranks.{side}": env for side in sides}, overrides) as on:
        found = alternate({side: partial(ask, on[side]) for side in sides}, size)
    seconds = {side: [answer["seconds"] for answer in answers] for side, answers in found.items()}
    norms = {side: [answer["norm"] for answer in answers] for side, answers in found.items()}
    return [
        *(ratio(f"{ours} / {theirs}", seconds[ours], seconds[theirs]) for ours in OURS),
        *(ratio(f"gradient norm, {ours} / {theirs}", norms[ours], norms[theirs]) for ours in OURS),
        *(figures(f"step, {side}, beside {theirs}", "s", found[side], "seconds") for side in sides),
    ]


def zero1(config: Config) -> AbstractContextManager[Work]:
    """The learner under ZeRO-1."""
    return led(config, "zero1")


def zero2(config: Config) -> AbstractContextManager[Work]:
    """The learner under ZeRO-2."""
    return led(config, "zero2")


def ddp(config: Config) -> AbstractContextManager[Work]:
    """torch's DistributedDataParallel."""
    return led(config, "ddp")


def fsdp2(config: Config) -> AbstractContextManager[Work]:
    """torch's fully_shard on every layer."""
    return led(config, "fsdp2")


@contextmanager
def led(config: Config, side: str) -> Iterator[Work]:
    """The first rank of a side, in this process; it starts the second one and passes every job on to it."""
    from rollout.transfer.meeting import free_socket

    listener = free_socket("127.0.0.1")
    follower = Peer("ranks.second", {SIDE: side, MEET: str(listener.getsockname()[1])}, sys.argv[2:])
    own = MAKERS[side](config, 0, listener)
    follower.hear()

    def work(job: dict[str, Any]) -> dict[str, Any]:
        follower.tell(**job)
        answer = own(job)
        follower.hear()
        return answer

    try:
        yield work
    finally:
        follower.dismiss()
        follower.process.wait(60)


@contextmanager
def second(config: Config) -> Iterator[Work]:
    """The second rank of the side that the environment names."""
    yield MAKERS[os.environ[SIDE]](config, 1, None)


def joined(rank: int, listener: Any) -> Any:
    """Meet the other rank; the device."""
    import torch

    from learner.process_group import join_ranks

    torch.set_num_threads(1)
    port = listener.getsockname()[1] if listener else int(os.environ[MEET])
    return join_ranks(rank=rank, world=RANKS, host="127.0.0.1", port=port, deadline_s=300, listener=listener)


def learner(stage: int) -> Make:
    """A maker of learner ranks under a stage of ZeRO."""

    def make(config: Config, rank: int, listener: Any) -> Work:
        from learner.batch.fetched import InMemory
        from learner.learner import Learner
        from rollout.types import GroupSummary

        device = joined(rank, listener)
        changed = config.learner.model_copy(update={"deepspeed": {"zero_optimization": {"stage": stage}}})
        it = Learner(config.model_copy(update={"learner": changed}), rank=rank, world=RANKS, device=device)
        groups = random_groups(config)
        summaries = [GroupSummary.of(group) for group in groups]

        def work(_: dict[str, Any]) -> dict[str, Any]:
            started = time.perf_counter()
            stats = it.step(summaries, InMemory(groups))
            return {"seconds": time.perf_counter() - started, "norm": stats["grad_norm"]}

        return work

    return make


def torch_ranks(wrap: Callable[[Any], Any]) -> Make:
    """A maker of ranks of a bare torch loop around a wrapped model."""

    def make(config: Config, rank: int, listener: Any) -> Work:
        import torch
        from transformers import AutoModelForCausalLM

        from learner.batch.fetched import fetch_all
        from learner.batch.plan import plan_for
        from learner.batch.tensors import build_batch
        from rollout.types import GroupSummary

        joined(rank, listener)
        groups = random_groups(config)
        preset = config.objective.resolved
        plan = plan_for(config, preset, RANKS, [GroupSummary.of(group) for group in groups])
        batches = [build_batch(rows, fetch_all(groups, rows), 0) for rows in plan.of_rank(rank)[0]]
        loaded: Any = AutoModelForCausalLM.from_pretrained(config.model.path, dtype=torch.float32, attn_implementation="sdpa")
        model = wrap(loaded.train())
        optimizer = torch.optim.AdamW(model.parameters(), lr=float(config.learner.lr), weight_decay=float(config.learner.weight_decay))

        def work(_: dict[str, Any]) -> dict[str, Any]:
            started = time.perf_counter()
            for batch in batches:
                now = logprobs_under(model, batch, float(config.rollout.temperature))
                (RANKS * clipped_loss(preset, now, now.detach(), batch)).backward()
            norm: Any = torch.nn.utils.clip_grad_norm_(model.parameters(), float(config.learner.max_grad_norm))
            optimizer.step()
            optimizer.zero_grad()
            whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            return {"seconds": time.perf_counter() - started, "norm": float(whole)}

        return work

    return make


def with_ddp(model: Any) -> Any:
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model)


def with_fsdp2(model: Any) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (RANKS,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


MAKERS: dict[str, Make] = {"zero1": learner(1), "zero2": learner(2), "ddp": torch_ranks(with_ddp), "fsdp2": torch_ranks(with_fsdp2)}
