"""A learner step against a bare torch loop on the same tokens: same micro-batches, same two updates, same arithmetic.

The loop times only the updates; it makes its batches and old log-probs before. So the difference is what Gatewise adds: batches from
groups, a pass for the old log-probs of every update after the first, statistics, DeepSpeed.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peer import Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env, threads
from configs.loader import load
from configs.schema import Config
from configs.surrogates import Clip
from rollout.types import Group

PARTS = {"fetch": "groups to batches", "old": "old log-probs", "update": "updates"}


def measure(size: Size) -> list[Row]:
    """Rounds of one step each, from the same model on the same recorded groups."""
    overrides = [f"run.dir={OUT / 'learner'}"]
    env = learner_env(load(CONFIG, overrides), gpu=False)
    with peers({"learner.gatewise": env, "learner.bare": env}, overrides) as on:
        found = alternate({"Learner": lambda _: on["gatewise"].ask(), "torch": lambda _: on["bare"].ask()}, size)
    ours, bare = found["Learner"], [answer["seconds"] for answer in found["torch"]]
    return [
        ratio("Learner.step / bare torch", [answer["seconds"] for answer in ours], bare),
        *(ratio(f"of which {what}", [answer[part] for answer in ours], bare) for part, what in PARTS.items()),
        ratio("gradient norm, Learner / bare torch", [answer["norm"] for answer in ours], [answer["norm"] for answer in found["torch"]]),
        figures("Learner.step", "s", ours, "seconds"),
        *(figures(f"of which {what}", "s", ours, part) for part, what in PARTS.items()),
        figures("bare torch", "s", found["torch"], "seconds"),
    ]


@contextmanager
def gatewise(config: Config, dressed: Callable[[list[Group], Any], list[Group]] = lambda groups, _: groups) -> Iterator[Work]:
    """The learner as one rank, in this process; `dressed` adds an engine's recordings to its groups."""
    import torch

    from benchmarks.prompts import recorded_groups
    from learner.batch.fetched import InMemory
    from learner.learner import Learner
    from learner.process_group import join_ranks
    from rollout.transfer import free_socket
    from rollout.types import GroupSummary

    torch.set_num_threads(int(threads(config.learner.cpus_per_rank)))
    listener = free_socket("127.0.0.1")
    port = listener.getsockname()[1]
    device = join_ranks(rank=0, world=1, host="127.0.0.1", port=port, deadline_s=float(config.run.deadline_s), listener=listener)
    learner = Learner(config, rank=0, world=1, device=device)
    groups = dressed(recorded_groups(config), learner)
    summaries = [GroupSummary.of(group) for group in groups]

    def work(_: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        stats = learner.step(summaries, InMemory(groups))
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "norm": stats["grad_norm"], **{part: stats[f"seconds/learn_{part}"] for part in PARTS}}

    yield work
    torch.distributed.destroy_process_group()


@contextmanager
def bare(config: Config) -> Iterator[Work]:
    """The model of transformers, torch's AdamW and the clipped loss written out."""
    import torch
    from transformers import AutoModelForCausalLM

    from benchmarks.prompts import recorded_groups
    from learner.batch.fetched import fetch_all
    from learner.batch.plan import plan_step
    from learner.batch.tensors import Batch, build_batch
    from rollout.types import GroupSummary

    learner, preset = config.learner, config.objective.resolved
    clip = preset.surrogate
    assert isinstance(clip, Clip), "the bare loop writes out PPO's clip and no other surrogate"
    torch.set_num_threads(int(threads(learner.cpus_per_rank)))
    groups = recorded_groups(config)
    budget = learner.micro_batch_tokens
    summaries = [GroupSummary.of(group) for group in groups]
    longest = config.rollout.max_response_tokens
    plan = plan_step(summaries, preset, updates=learner.updates_per_step, ranks=1, micro_batch_tokens=budget, response_tokens=longest)
    updates = [[build_batch(part, fetch_all(groups, part), 0) for part in update] for update in plan.of_rank(0)]
    model: Any = AutoModelForCausalLM.from_pretrained(
        config.model.path, dtype=getattr(torch, config.model.dtype), attn_implementation=learner.attention
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(learner.lr), betas=learner.betas, weight_decay=float(learner.weight_decay))

    def logprobs_of(batch: Batch) -> torch.Tensor:
        ids, start = batch.token_ids, batch.prompt_width
        shape = {"attention_mask": batch.attention, "position_ids": batch.position_ids, "logits_to_keep": ids.shape[1] - start + 1}
        logits = model(input_ids=ids, use_cache=False, **shape).logits[:, :-1] / config.rollout.temperature
        return torch.log_softmax(logits, -1).gather(-1, ids[:, start:, None]).squeeze(-1)

    def loss_of(logprobs: torch.Tensor, before: torch.Tensor, batch: Batch) -> torch.Tensor:
        advantages = batch.advantages[:, None]
        ratios = (logprobs - before).exp()
        clipped = ratios.clamp(1 - clip.clip_low, 1 + clip.clip_high)
        return -(torch.minimum(ratios * advantages, clipped * advantages) * batch.token_weight).sum()

    def work(_: dict[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            old = [[logprobs_of(batch) for batch in update] for update in updates]
        started, norms = time.perf_counter(), []
        for update, before in zip(updates, old, strict=True):
            for batch, of_batch in zip(update, before, strict=True):
                loss_of(logprobs_of(batch), of_batch, batch).backward()  # type: ignore[no-untyped-call]
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), float(learner.max_grad_norm))))
            optimizer.step()
            optimizer.zero_grad()
        return {"seconds": time.perf_counter() - started, "norm": sum(norms) / len(norms)}

    yield work
