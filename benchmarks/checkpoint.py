"""Checkpoints of a rank with a state of 0.6 GB: the wait of training against a plain copy of the same bytes, the rest against the disk.

Every round takes a snapshot, learns a step alone, learns one while the snapshot is written, and loads what was written. Beside each stands
what a machine cannot avoid: a copy, a write with a flush and a read of as many bytes, from memory that is there already.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peer import Work, peers
from benchmarks.rounds import CONFIG, OUT, Answers, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env
from configs.loader import load
from configs.schema import Config

HERE = OUT / "checkpoint"
MODEL = HERE / "model"
LAYERS, EXPERTS, WIDTH = 4, 16, 512
SMALL = ("learner.updates_per_step=1", "rollout.groups_per_step=2", "rollout.group_size=2")  # so that AdamW is most of a step
MOST_ROUNDS = 7  # a round moves the state nine times and learns two steps
GB = 1e9


def measure(size: Size) -> list[Row]:
    """Rounds in one process, which holds the whole model under ZeRO-2."""
    write_model(load(CONFIG).model.path)
    overrides = [f"run.dir={HERE / 'run'}", f"model.path={MODEL}", "learner.deepspeed.zero_optimization.stage=2", *SMALL]
    with peers({"checkpoint.rank": learner_env(load(CONFIG, overrides), gpu=False)}, overrides) as on:
        found = alternate({"rank": lambda _: on["rank"].ask()}, replace(size, warm_up=1, rounds=min(size.rounds, MOST_ROUNDS)))["rank"]
    return [
        against("snapshot / plain copy of the same bytes", found, "snapshot", "copy"),
        against("first snapshot, which takes its memory / plain copy", found, "first", "copy"),
        against("write, hashed and flushed / plain write and flush", found, "write", "plain write"),
        against("load / plain read of the same bytes", found, "load", "plain read"),
        against("a step beside a write / a step alone", found, "beside", "step"),
        *(figures(name, "s", found, name) for name in ("copy", "snapshot", "plain write", "write", "plain read", "load", "step", "beside")),
        Row(what="the state", unit="GB", values=[answer["bytes"] / GB for answer in found]),
    ]


def against(what: str, found: Answers, over: str, under: str) -> Row:
    """A row of ratios of two times of the same round."""
    return ratio(what, [answer[over] for answer in found], [answer[under] for answer in found])


def write_model(tiny: str) -> None:
    """A random Qwen3-MoE in float32, with the tokenizer of the tiny model."""
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        moe_intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        dtype=torch.float32,
    )
    torch.manual_seed(0)
    model: Any = Qwen3MoeForCausalLM(config)
    shutil.rmtree(MODEL, ignore_errors=True)
    model.save_pretrained(MODEL)
    tokenizer.save_pretrained(MODEL)


@contextmanager
def rank(config: Config) -> Iterator[Work]:
    """One rank in this process. Its first step makes the moments; its first snapshot takes the memory for all that follow."""
    import torch

    from benchmarks.prompts import recorded_groups
    from learner.batch.fetched import InMemory
    from learner.learner import Learner
    from learner.process_group import join_ranks
    from learner.state.rank_state import RankState
    from rollout.transfer.meeting import free_socket
    from rollout.types import GroupSummary

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    listener = free_socket("127.0.0.1")
    port = listener.getsockname()[1]
    device = join_ranks(rank=0, world=1, host="127.0.0.1", port=port, deadline_s=float(config.run.deadline_s), listener=listener)
    learner = Learner(config, rank=0, world=1, device=device)
    groups = recorded_groups(config)
    summaries = [GroupSummary.of(group) for group in groups]

    def step() -> None:
        learner.step(summaries, InMemory(groups))

    step()
    state, folder = RankState(learner), HERE / "state"
    first = seconds(state.snapshot)
    source = state.taken.memory.clone()
    target = torch.zeros_like(source)
    with ThreadPoolExecutor(1) as background:
        yield lambda _: {"first": first, "bytes": len(source)} | one_round(state, folder, step, background, lambda: target.copy_(source))
    torch.distributed.destroy_process_group()


def one_round(
    state: Any, folder: Path, step: Callable[[], None], background: ThreadPoolExecutor, copy: Callable[[], object]
) -> dict[str, float]:
    """The seconds of each part of a round."""
    make_empty(folder)
    found = {"copy": seconds(copy), "snapshot": seconds(state.snapshot), "step": seconds(step)}
    writing = background.submit(seconds, lambda: state.write(folder))
    found["beside"] = seconds(step)
    writing.result()
    make_empty(folder)  # writing over a file is cheaper than writing a new one
    found["write"] = seconds(lambda: state.write(folder))
    memory = memoryview(state.taken.memory.numpy())
    plain = folder / "plain"
    found["plain write"] = seconds(lambda: write_plainly(plain, memory))
    found["plain read"] = seconds(lambda: read_plainly(plain, memory))
    plain.unlink()
    found["load"] = seconds(lambda: state.load(folder))
    return found | {"seconds": sum(found.values())}


def make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write_plainly(path: Path, memory: memoryview) -> None:
    with path.open("wb", buffering=0) as file:
        while memory:
            memory = memory[file.write(memory) :]
        os.fsync(file.fileno())


def read_plainly(path: Path, memory: memoryview) -> None:
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(memory):
            memory = memory[count:]
