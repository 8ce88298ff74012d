"""A whole run over toys: the real controller, window, ledger, metrics and checkpoints over toy engines, learners and publisher."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from cluster.actors.engines import Scored
from cluster.causes.roles import RankLost, Role
from cluster.controller import Controller
from cluster.publish.publisher import LearnerFailed
from cluster.record.audit.audit import audit
from cluster.record.audit.settings import Settings
from cluster.record.capsules.files import rank_file, write_tensors
from cluster.record.checkpoint import Checkpoints, Position, read_position, read_stream
from cluster.record.ledger import Ledger, Proven
from cluster.record.metrics.metrics import Metrics, read_metrics
from cluster.stop import Stop
from configs.loader import dump
from rollout.prompts.prompts import PromptSet
from rollout.types import Prompt, Verdict
from rollout.window.scored import Text
from tests.toys.run import run_config, toy_summary

STEPS = 18
PROMPTS = [Prompt(prompt_id=f"q{n}", token_ids=np.array([1, n], np.int32), reference="1", checker="exact") for n in range(17)]
SETTLED = "SELECT group_id, prompt_id, outcome, step FROM groups WHERE outcome IN ('learned', 'rejected') ORDER BY group_id"
CLOCKED = ("seconds", "share", "tokens_per_second", "window/", "learner/re", "learner/ro")


Reached = Callable[[str, int], None]  # called with the stage and the step that it works for


class ToyEngines:
    """Answers a prompt rightly as often as its number says, after a time that depends on `timing`."""

    def __init__(self, timing: int, version: list[int], reached: Reached) -> None:
        self.random, self.version, self.reached = random.Random(timing), version, reached

    async def stranded(self) -> None:
        await asyncio.Event().wait()

    def counts(self) -> dict[str, float]:
        return {}

    async def words(self, groups: Sequence[Scored]) -> list[None]:
        return [None] * len(groups)

    async def drop_groups(self) -> None:
        self.reached("drop", self.version[0])

    async def respond(self, group_id: int, prompt: Prompt, size: int, *, texts: int) -> Scored:
        version, number = self.version[0], int(prompt.prompt_id.rpartition("q")[2])
        self.reached("generate", version + 1)
        for _ in range(self.random.choice([0, 1, 3, 25])):
            await asyncio.sleep(0)
        right = np.random.default_rng([number, group_id]).random(size) < number / 16
        summary = toy_summary(group_id, right.astype(float).tolist(), oldest=version)
        shown = [Text(n, str(int(good)), Verdict(reward=float(good))) for n, good in enumerate(right[:texts])]
        return Scored(summary=replace(summary, source=prompt.source), texts=shown, tokens="tokens", engine=0, prompt=prompt)


class ToyLearners:
    """Learns nothing, and minds that it is given tokens."""

    def __init__(self, version: list[int], reached: Reached, spikes: Sequence[int] = ()) -> None:
        """`spikes` are steps whose update spikes, each once."""
        self.version, self.reached, self.spikes = version, reached, list(spikes)
        self.rates: list[float] = []

    async def scale_rate(self, share: float) -> None:
        self.rates.append(share)

    async def step(self, groups: list[Scored]) -> dict[str, float]:
        assert [scored.learnable for scored in groups] == ["tokens"] * len(groups)
        self.reached("learn", self.version[0] + 1)
        await asyncio.sleep(0)
        loss = {"loss": float(sum(scored.summary.group_id for scored in groups))}
        if self.spikes[:1] != [self.version[0] + 1]:
            return loss
        self.spikes.pop(0)
        return loss | {"updates_spiked": 1.0, "grad_norm": 50.0, "grad_norm_median": 0.5}

    async def expert_load(self, stats: dict[str, float]) -> Any:
        return np.array([[int(stats["loss"]), 1]])

    async def watch(self) -> None:
        await asyncio.sleep(3600)

    async def unless_lost(self, work: Awaitable[Any]) -> Any:
        working = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        try:
            self.reached("wait", self.version[0] + 1)
            return await working
        finally:
            working.cancel()

    def end(self) -> None:
        self.version[0] = -1

    async def restart(self) -> None:
        self.reached("start", self.version[0])
        self.version[0] = 0

    async def load(self, folder: Path) -> None:
        self.reached("load", self.version[0])
        self.version[0] = read_position(folder).step

    async def load_weights(self, folder: Path, *, optimizer: bool) -> None:
        await self.load(folder)

    async def snapshot(self) -> None:
        self.reached("save", self.version[0])
        self.copy = self.version[0]
        await asyncio.sleep(0)

    async def capsule(self, folder: Path, room: int) -> list[dict[str, Any]]:
        entry = write_tensors(folder / rank_file(0), {"losses": np.zeros(1)})
        return [{"name": rank_file(0), "entry": entry, "norms": [50.0], "entropy_coefficient": 0.0}]

    async def write(self, folder: Path) -> list[dict[str, Any]]:
        for _ in range(7):
            await asyncio.sleep(0)
        (folder / "rank-0.json").write_text(json.dumps(self.copy))
        return []


class ToyPublisher:
    """Sends nothing; what is sampled from now on is of the new version."""

    def __init__(self, version: list[int], reached: Reached, ledger: Ledger) -> None:
        self.version, self.reached, self.ledger = version, reached, ledger

    async def reset(self) -> None:
        self.reached("reset", self.version[0])

    async def publish(self, step: int) -> Any:
        try:
            self.reached("publish", step)
        except RankLost as error:
            raise LearnerFailed("the learner failed") from error
        await asyncio.sleep(0)
        assert self.version[0] in (step, step - 1), "these ranks do not have the weights of that step"
        self.version[0] = step
        self.ledger.published(step, f"w{step}", [Proven(0, 0, f"w{step}")])
        return SimpleNamespace(weights=f"w{step}", bytes=1, seconds=0.1, engines=1, turns={})


def assert_sound(folder: Path) -> None:
    """The audit of a run at work finds nothing: no group lost or settled twice, no token too stale, no step without its record."""
    found = audit(folder)
    assert [line for one in found for line in one.violations] == []
    assert all(one.checked for one in found)


def of_source(prompt: Prompt, name: str) -> Prompt:
    return replace(prompt, source=name, prompt_id=f"{name}/{prompt.prompt_id}")


def train(
    folder: Path,
    timing: int,
    *,
    resume: int = 0,
    staleness: int = 0,
    sampler: str = "difficulty",
    dynamic: bool = True,
    sources: dict[str, Any] | None = None,
    stop_in: tuple[str, int] | None = None,
    lost_in: Sequence[tuple[str, int]] = (),
    spikes: Sequence[int] = (),
    restarts: int = 3,
    learner: dict[str, Any] | None = None,
) -> tuple[list[Any], list[dict[str, float]]]:
    """A run, or its continuation after a step, until its end or a stop: the outcome of every group, and all metrics that are no clock."""
    run = {"dir": str(folder), "steps": STEPS, "save_every": 3, "keep_checkpoints": 100, "max_staleness": staleness, "sample_responses": 16}
    rollout = {"groups_per_step": 4, "group_size": 4, "dynamic_sampling": dynamic, "max_refill": 100, "max_response_tokens": 8}
    data = {"train": None if sources else "t.jsonl", "sources": sources or {}, "sampler": sampler, "max_prompt_tokens": 16}
    config = run_config(folder, run=run, rollout=rollout, data=data, learner={"restarts": restarts} | (learner or {}))
    prompts = [of_source(prompt, "hard" if n < 8 else "soft") if sources else prompt for n, prompt in enumerate(PROMPTS)]
    folder.mkdir(exist_ok=True)
    checkpoint = folder / "checkpoints" / f"step_{resume:06d}"
    position = read_position(checkpoint) if resume else Position(step=0, next_group=0, pending=())
    Checkpoints(config).set_aside_after(resume)
    (folder / "config.toml").write_text(dump(config))
    ledger, version = Ledger(folder / "ledger.db"), [resume]
    ledger.begin(position.step, position.next_group, position.pending, settings=Settings.of(config).as_json())
    rollbacks = len(ledger.rates())
    metrics = Metrics(config, resume)
    stop = Stop()
    said: list[str] = []
    to_lose = list(lost_in)

    def reached(stage: str, step: int) -> None:
        if to_lose and (stage, step) == to_lose[0]:
            to_lose.pop(0)
            raise RankLost(Role("learner rank 1", folder / "learner-1.log"), "died", RuntimeError("gone"), died=True)
        if (stage, step) == stop_in:
            stop.ask()

    learners = ToyLearners(version, reached, spikes)
    actors: Any = SimpleNamespace(engines=ToyEngines(timing, version, reached), learners=learners)
    publisher: Any = ToyPublisher(version, reached, ledger)
    show: Any = SimpleNamespace(step=lambda *_: None, say=said.append, follow_window=lambda _: None)
    controller = Controller(config, actors, publisher, PromptSet(prompts=prompts, dropped=0), [], ledger, metrics, show, stop)
    if resume:
        controller.stream.load(read_stream(checkpoint))

    async def run() -> None:
        with stop.answered(said.append, 60):
            await publisher.publish(resume)
            await controller.run(position)

    asyncio.run(run())
    assert to_lose == learners.spikes == []
    expect_said(said, spikes=len(spikes), rollbacks=len(ledger.rates()) - rollbacks, lost=len(lost_in), stopped=stop_in is not None)
    metrics.close()
    return outcome(folder, controller, ledger, staleness)


def expect_said(said: Sequence[str], *, spikes: int, rollbacks: int, lost: int, stopped: bool) -> None:
    """A run says each spike, rollback, lost rank and stop once, and nothing else but its health."""
    rolled_back = [line for line in said if "spiked: the gradient's norm is 50" in line and "the run goes back to" in line]
    assert len(rolled_back) == rollbacks
    kept = [line for line in said if line.startswith("step ") and "kept as a capsule" in line]
    assert len(kept) == spikes, said
    other = [line for line in said if not line.startswith("warning: step") and line not in kept]
    assert len(other) == lost + stopped, said
    assert sum(line.startswith("warning: learner rank 1 died: all ranks start again") for line in said) == lost


def outcome(folder: Path, controller: Controller, ledger: Ledger, staleness: int) -> tuple[list[Any], list[dict[str, float]]]:
    """The outcome of every group and all metrics that are no clock, of a run whose accounts are sound."""
    newest = controller.checkpoints.newest()
    assert newest is not None, "no checkpoint"
    last = read_position(newest)
    assert ledger.faults(last.next_group, last.pending) == []
    rows = ledger.db.execute(SETTLED).fetchall()
    lines = [{k: v for k, v in line.items() if not k.startswith(CLOCKED)} for line in read_metrics(folder)]
    assert_sound(folder)
    ledger.close()
    experts = controller.experts.read()
    assert experts is not None
    assert experts[0].tolist() == [line["step"] for line in lines]
    assert experts[1][:, 0, 0].tolist() == [line["loss"] for line in lines]
    return rows, lines
