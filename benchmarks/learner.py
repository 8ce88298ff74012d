"""A learner step against a bare torch loop: the same rows, micro-batches, passes and updates, and the same arithmetic.

The loop is given its batches. Like the learner it makes a pass for the old log-probs of every update after the first, whose own are the
old ones. So the difference is what Gatewise adds: batches from groups, statistics, counted experts, entropies, DeepSpeed. The learner runs
padded, as the loop does, and packed, as it is shipped. On a busy machine read CPU seconds, with OMP_NUM_THREADS=1 set.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from benchmarks.mixture import keys, random_groups, write_mixture
from benchmarks.peer import Peer, Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env
from configs.loader import load
from configs.presets import Preset
from configs.schema import Config
from configs.surrogates import Clip
from rollout.types import Group

PARTS = {"fetch": "groups to batches", "old": "old log-probs", "update": "updates"}
SIDES = {"padded": "learner.padded", "packed": "learner.packed", "torch": "learner.bare"}


def measure(size: Size) -> list[Row]:
    """Rounds of one step each, from the same model on the same recorded groups; for the tiny recipe and for the mixture."""
    write_mixture()
    few = Size(warm_up=1, rounds=min(size.rounds, 9), steps=0, runs=0)  # a round of the mixture takes half a minute
    one = [*keys(), "rollout.groups_per_step=8"]
    two = [*one, "learner.updates_per_step=2"]
    return [*compared("tiny", [], size), *compared("57M", one, few), *compared("57M, two updates", two, few)]


def compared(name: str, given: Sequence[str], size: Size) -> list[Row]:
    """The rows of one recipe."""
    overrides = [f"run.dir={OUT / 'learner'}", *given]
    env = learner_env(load(CONFIG, overrides), gpu=False)
    with peers(dict.fromkeys(SIDES.values(), env), overrides) as on:
        found = alternate({side: partial(ask, on[role.split(".")[1]]) for side, role in SIDES.items()}, size)
    bare = [answer["seconds"] for answer in found["torch"]]
    rows = []
    for side in ("padded", "packed"):
        ours = found[side]
        rows += [
            ratio(f"{name}: Learner.step {side} / bare torch", [answer["seconds"] for answer in ours], bare),
            ratio(f"{name}: CPU seconds, Learner.step {side} / bare torch", [a["cpu"] for a in ours], [a["cpu"] for a in found["torch"]]),
            *(ratio(f"{name}, {side}: of which {what}", [answer[part] for answer in ours], bare) for part, what in PARTS.items()),
            ratio(f"{name}, {side}: gradient norm / bare torch's", [a["norm"] for a in ours], [a["norm"] for a in found["torch"]]),
            figures(f"{name}: Learner.step {side}", "s", ours, "seconds"),
        ]
    return [*rows, figures(f"{name}: bare torch", "s", found["torch"], "seconds")]


def ask(peer: Peer, _: int) -> dict[str, Any]:
    """One step of one side."""
    return peer.ask()


def groups_of(config: Config) -> Sequence[Group]:
    """The recorded groups of a recipe."""
    from benchmarks.prompts import recorded_groups

    return recorded_groups(config) if config.reward.checker == "exact" else random_groups(config)


def padded(config: Config) -> AbstractContextManager[Work]:
    """The learner on padded rows."""
    return gatewise(config.model_copy(update={"learner": config.learner.model_copy(update={"packing": False})}))


def packed(config: Config) -> AbstractContextManager[Work]:
    """The learner as it is shipped."""
    return gatewise(config)


@contextmanager
def gatewise(config: Config, dressed: Callable[[list[Group], Any], list[Group]] = lambda groups, _: groups) -> Iterator[Work]:
    """The learner as one rank, in this process; `dressed` adds an engine's recordings to its groups."""
    import torch

    from learner.batch.fetched import InMemory
    from learner.learner import Learner
    from learner.process_group import join_ranks
    from rollout.transfer.meeting import free_socket
    from rollout.types import GroupSummary

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    listener = free_socket("127.0.0.1")
    port = listener.getsockname()[1]
    device = join_ranks(rank=0, world=1, host="127.0.0.1", port=port, deadline_s=float(config.run.deadline_s), listener=listener)
    learner = Learner(config, rank=0, world=1, device=device)
    groups = dressed(list(groups_of(config)), learner)
    summaries = [GroupSummary.of(group) for group in groups]

    def work(_: dict[str, Any]) -> dict[str, Any]:
        started, worked = time.perf_counter(), time.process_time()
        stats = learner.step(summaries, InMemory(groups))
        took = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - worked}
        return {**took, "norm": stats["grad_norm"], **{part: stats[f"seconds/learn_{part}"] for part in PARTS}}

    yield work
    torch.distributed.destroy_process_group()


@contextmanager
def bare(config: Config) -> Iterator[Work]:
    """The model of transformers, torch's AdamW and the clipped loss written out."""
    import torch
    from transformers import AutoModelForCausalLM

    from learner.batch.fetched import fetch_all
    from learner.batch.plan import plan_step
    from learner.batch.tensors import build_batch
    from rollout.types import GroupSummary

    learner, preset = config.learner, config.objective.resolved
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    groups = groups_of(config)
    budget = learner.micro_batch_tokens
    summaries = [GroupSummary.of(group) for group in groups]
    longest = config.rollout.max_response_tokens
    plan = plan_step(summaries, preset, updates=learner.updates_per_step, ranks=1, micro_batch_tokens=budget, response_tokens=longest)
    updates = [[build_batch(part, fetch_all(groups, part), 0) for part in update] for update in plan.of_rank(0)]
    model: Any = AutoModelForCausalLM.from_pretrained(
        config.model.path, dtype=getattr(torch, config.model.dtype), attn_implementation=learner.attention
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(learner.lr), betas=learner.betas, weight_decay=float(learner.weight_decay))

    logprobs_of = partial(logprobs_under, model, temperature=float(config.rollout.temperature))

    def work(_: dict[str, Any]) -> dict[str, Any]:
        started, worked, norms = time.perf_counter(), time.process_time(), list[float]()
        with torch.no_grad():
            old = [[logprobs_of(batch) for batch in update] for update in updates[1:]]
        for update, before in zip(updates, [[None] * len(updates[0]), *old], strict=True):
            for batch, of_batch in zip(update, before, strict=True):
                now = logprobs_of(batch)
                clipped_loss(preset, now, now.detach() if of_batch is None else of_batch, batch).backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), float(learner.max_grad_norm))))
            optimizer.step()
            optimizer.zero_grad()
        took = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - worked}
        return {**took, "norm": sum(norms) / len(norms)}

    yield work


def logprobs_under(model: Any, batch: Any, temperature: float) -> Any:
    """Log-probs of a batch's response tokens [B, T] under a model of transformers."""
    import torch

    ids, start = batch.token_ids, batch.prompt_width
    shape = {"attention_mask": batch.whole, "position_ids": batch.position_ids, "logits_to_keep": ids.shape[1] - start + 1}
    logits = model(input_ids=ids, use_cache=False, **shape).logits[:, :-1] / temperature
    return torch.log_softmax(logits, -1).gather(-1, ids[:, start:, None]).squeeze(-1)


def clipped_loss(preset: Preset, logprobs: Any, before: Any, batch: Any) -> Any:
    """PPO's clipped loss of a batch, written out."""
    import torch

    clip = preset.surrogate
    assert isinstance(clip, Clip), "the bare loop writes out PPO's clip and no other surrogate"
    advantages = batch.advantages[:, None]
    ratios = (logprobs - before).exp()
    clipped = ratios.clamp(1 - clip.clip_low, 1 + clip.clip_high)
    return -(torch.minimum(ratios * advantages, clipped * advantages) * batch.token_weight).sum()
