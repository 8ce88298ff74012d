"""The real controller, window, ledger, metrics and checkpoints over toy engines, learners and publisher."""

import asyncio
import json
import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.actors.engines import Scored
from cluster.causes.cause import find_cause
from cluster.causes.roles import RankLost, Role
from cluster.controller import Controller
from cluster.publish.publisher import LearnerFailed
from cluster.record.checkpoint import Checkpoints, Position, read_position, read_stream
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import Metrics, read_metrics
from cluster.stop import Stop
from rollout.prompts import PromptSet
from rollout.types import Prompt
from tests.toys.run import run_config, toy_summary

STEPS = 18
PROMPTS = [Prompt(prompt_id=f"q{n}", token_ids=np.array([1, n], np.int32), reference="", checker="exact") for n in range(17)]
CLOCKED = ("seconds", "share", "tokens_per_second", "window/", "learner/restarts")


Reached = Callable[[str, int], None]  # called with the stage and the step that it works for


class ToyEngines:
    """Answers a prompt rightly as often as its number says, after a time that depends on `timing`."""

    def __init__(self, timing: int, version: list[int], reached: Reached) -> None:
        self.random, self.version, self.reached = random.Random(timing), version, reached

    async def stranded(self) -> None:
        await asyncio.Event().wait()

    def counts(self) -> dict[str, float]:
        return {}

    async def drop_groups(self) -> None:
        self.reached("drop", self.version[0])

    async def respond(self, group_id: int, prompt: Prompt, size: int, *, texts: int) -> Scored:
        version, number = self.version[0], int(prompt.prompt_id[1:])
        self.reached("generate", version + 1)
        for _ in range(self.random.choice([0, 1, 3, 25])):
            await asyncio.sleep(0)
        right = np.random.default_rng([number, group_id]).random(size) < number / 16
        summary = toy_summary(group_id, right.astype(float).tolist(), oldest=version)
        return Scored(summary=replace(summary, source=prompt.source), texts=(), tokens="tokens", engine=0, prompt=prompt)


class ToyLearners:
    """Learns nothing, and minds that it is given tokens."""

    def __init__(self, version: list[int], reached: Reached) -> None:
        self.version, self.reached = version, reached

    async def step(self, groups: list[Scored]) -> dict[str, float]:
        assert [scored.learnable for scored in groups] == ["tokens"] * len(groups)
        self.reached("learn", self.version[0] + 1)
        await asyncio.sleep(0)
        return {"loss": float(sum(scored.summary.group_id for scored in groups))}

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

    async def write(self, folder: Path) -> list[dict[str, Any]]:
        for _ in range(7):
            await asyncio.sleep(0)
        (folder / "rank-0.json").write_text(json.dumps(self.copy))
        return []


class ToyPublisher:
    """Sends nothing; what is sampled from now on is of the new version."""

    def __init__(self, version: list[int], reached: Reached) -> None:
        self.version, self.reached = version, reached

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
        return SimpleNamespace(weights="w", bytes=1, seconds=0.1, engines=1, turns={})


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
    restarts: int = 3,
) -> tuple[list[Any], list[dict[str, float]]]:
    """A run, or its continuation after a step, until its end or a stop: the outcome of every group, and all metrics that are no clock."""
    run = {"dir": str(folder), "steps": STEPS, "save_every": 3, "keep_checkpoints": 100, "max_staleness": staleness}
    rollout = {"groups_per_step": 4, "group_size": 4, "dynamic_sampling": dynamic, "max_refill": 100, "max_response_tokens": 8}
    data = {"train": None if sources else "t.jsonl", "sources": sources or {}, "sampler": sampler, "max_prompt_tokens": 16}
    config = run_config(folder, run=run, rollout=rollout, data=data, learner={"restarts": restarts})
    prompts = [replace(prompt, source="hard" if n < 8 else "soft") if sources else prompt for n, prompt in enumerate(PROMPTS)]
    folder.mkdir(exist_ok=True)
    checkpoint = folder / "checkpoints" / f"step_{resume:06d}"
    position = read_position(checkpoint) if resume else Position(step=0, next_group=0, pending=())
    Checkpoints(config).set_aside_after(resume)
    ledger, metrics, version = Ledger(folder / "ledger.db"), Metrics(config, resume), [resume]
    ledger.begin(position.step, position.next_group, position.pending)
    stop = Stop()
    said: list[str] = []
    to_lose = list(lost_in)

    def reached(stage: str, step: int) -> None:
        if to_lose and (stage, step) == to_lose[0]:
            to_lose.pop(0)
            raise RankLost(Role("learner rank 1", folder / "learner-1.log"), "died", RuntimeError("gone"), died=True)
        if (stage, step) == stop_in:
            stop.ask()

    actors: Any = SimpleNamespace(engines=ToyEngines(timing, version, reached), learners=ToyLearners(version, reached))
    publisher: Any = ToyPublisher(version, reached)
    show: Any = SimpleNamespace(step=lambda *_: None, say=said.append)
    controller = Controller(config, actors, publisher, PromptSet(prompts=prompts, dropped=0), [], ledger, metrics, show, stop)
    if resume:
        controller.stream.load(read_stream(checkpoint))

    async def run() -> None:
        with stop.answered(said.append, 60):
            await controller.run(position)

    asyncio.run(run())
    assert to_lose == []
    assert len(said) == len(lost_in) + (stop_in is not None)
    assert [line for line in said if line.startswith("warning: learner rank 1 died: all ranks start again")] == said[: len(lost_in)]
    metrics.close()
    return outcome(folder, controller, ledger, staleness)


def outcome(folder: Path, controller: Controller, ledger: Ledger, staleness: int) -> tuple[list[Any], list[dict[str, float]]]:
    """The outcome of every group and all metrics that are no clock, of a run whose accounts are sound."""
    newest = controller.checkpoints.newest()
    assert newest is not None
    last = read_position(newest)
    assert ledger.faults(last.next_group, last.pending) == []
    assert ledger.db.execute("SELECT max(step - 1 - oldest_version) FROM groups WHERE outcome = 'learned'").fetchone()[0] <= staleness
    settled = "SELECT group_id, prompt_id, outcome, step FROM groups WHERE outcome IN ('learned', 'rejected') ORDER BY group_id"
    rows = ledger.db.execute(settled).fetchall()
    lines = [{k: v for k, v in line.items() if not k.startswith(CLOCKED)} for line in read_metrics(folder)]
    ledger.close()
    experts = controller.experts.read()
    assert experts is not None
    assert experts[0].tolist() == [line["step"] for line in lines]
    assert experts[1][:, 0, 0].tolist() == [line["loss"] for line in lines]
    return rows, lines


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("sampler", ["difficulty", "uniform"])
def test_a_synchronous_run_repeats_whatever_the_timing_and_wherever_it_was_cut(tmp_path: Path, sampler: str, dynamic: bool) -> None:
    straight = train(tmp_path / "straight", 0, sampler=sampler, dynamic=dynamic)
    assert any(key.startswith("sampler/") for key in straight[1][0]) == (sampler == "difficulty")
    assert ("rejected" in {outcome for _, _, outcome, _ in straight[0]}) == dynamic
    for timing in (1, 2):
        assert train(tmp_path / f"timing-{timing}", timing, sampler=sampler, dynamic=dynamic) == straight
    for cut in (3, 15):
        shutil.copytree(tmp_path / "straight", tmp_path / f"cut-{cut}")
        assert train(tmp_path / f"cut-{cut}", cut, resume=cut, sampler=sampler, dynamic=dynamic) == straight


@pytest.mark.parametrize("staleness", [1, 2, 4])
def test_a_run_that_runs_ahead_keeps_its_bound_and_its_accounts_when_continued(tmp_path: Path, staleness: int) -> None:
    for timing in (0, 1):
        rows, lines = train(tmp_path / f"{timing}", timing, staleness=staleness)
        assert len(lines) == STEPS
        assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4
        rows, _ = train(tmp_path / f"{timing}", timing + 50, resume=9, staleness=staleness)
        assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4
        assert json.loads((tmp_path / f"{timing}" / "checkpoints" / "step_000018" / "state.json").read_text())["position"]["step"] == STEPS


@pytest.mark.parametrize(("sampler", "dynamic"), [("uniform", True), ("difficulty", True), ("uniform", False)])
def test_a_mix_of_sources_repeats_whatever_the_timing_and_wherever_it_was_cut(tmp_path: Path, sampler: str, dynamic: bool) -> None:
    sources = {"soft": {"path": "s", "share": 1}, "hard": {"path": "h", "share": 3}}
    straight = train(tmp_path / "straight", 0, sampler=sampler, dynamic=dynamic, sources=sources)
    assert train(tmp_path / "other", 1, sampler=sampler, dynamic=dynamic, sources=sources) == straight
    for cut in (3, 15):
        shutil.copytree(tmp_path / "straight", tmp_path / f"cut-{cut}")
        assert train(tmp_path / f"cut-{cut}", cut, resume=cut, sampler=sampler, dynamic=dynamic, sources=sources) == straight
    last = straight[1][-1]
    assert last["source/hard/groups"] + last["source/soft/groups"] == 4
    assert last["source/hard/share"] == last["source/hard/groups"] / 4
    if not dynamic:
        assert {line["source/hard/groups"] for line in straight[1]} == {3.0}
        assert last["source/hard/epochs"] == STEPS * 3 / 8


@pytest.mark.parametrize(("stage", "last"), [("generate", 7), ("learn", 8), ("publish", 8), ("save", 6)])
@pytest.mark.parametrize("staleness", [0, 1])
def test_a_stopped_run_saves_the_newest_learned_step_and_loses_nothing(tmp_path: Path, stage: str, last: int, staleness: int) -> None:
    """A stop waits for the update of its step, or for the save, and never for generation."""
    _, lines = train(tmp_path / "cut", 0, staleness=staleness, stop_in=(stage, 6 if stage == "save" else 8))
    assert [line["step"] for line in lines] == list(range(1, last + 1))
    assert (tmp_path / "cut" / "checkpoints" / f"step_{last:06d}").is_dir()
    rows, lines = train(tmp_path / "cut", 1, staleness=staleness, resume=last)
    assert len(lines) == STEPS
    assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4
    if staleness == 0:
        assert (rows, lines) == train(tmp_path / "straight", 0)


def test_a_run_that_is_stopped_before_its_first_step_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="None"):
        train(tmp_path, 0, stop_in=("generate", 1))
    assert not list(tmp_path.glob("checkpoints/*"))


RECOVERING = [("drop", 7), ("reset", -1), ("start", -1), ("load", 0), ("publish", 6)]


@pytest.mark.parametrize(
    "lost_in",
    [
        *([(stage, 8)] for stage in ("wait", "learn", "publish")),
        [("save", 6)],
        [("learn", 1)],
        [("learn", 2), ("learn", 2)],
        *([("learn", 8), again] for again in RECOVERING),
    ],
    ids=str,
)
def test_a_run_that_loses_a_rank_learns_what_a_resumed_run_learns(tmp_path: Path, lost_in: list[tuple[str, int]]) -> None:
    assert train(tmp_path / "lost", 0, lost_in=lost_in) == train(tmp_path / "straight", 1)
    with closing(Ledger(tmp_path / "lost" / "ledger.db")) as ledger:
        attempts = ledger.db.execute("SELECT from_step FROM attempts").fetchall()
    back = {("save", 6): 3, ("learn", 1): 0, ("learn", 2): 0}.get(lost_in[0], 6)
    recovered = len(lost_in) - sum(found in RECOVERING for found in lost_in[1:])
    assert attempts == [(0,), *[(back,)] * recovered]


def test_a_rank_lost_in_a_run_that_runs_ahead_loses_no_prompt(tmp_path: Path) -> None:
    rows, lines = train(tmp_path, 0, staleness=2, lost_in=[("learn", 8), ("wait", 12), ("publish", 17)])
    assert len(lines) == STEPS
    assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4


@pytest.mark.parametrize("restarts", [0, 2])
def test_a_run_whose_restarts_are_used_up_ends_with_the_loss_as_its_cause(tmp_path: Path, restarts: int) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        train(tmp_path, 0, restarts=restarts, lost_in=[("learn", 5)] * (restarts + 1))
    assert find_cause(raised.value).role == "learner rank 1"
    assert "RuntimeError: gone" in find_cause(raised.value).line
