import asyncio
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from cluster.actors.engine_actor import EngineActor
from cluster.actors.engines import EnginePool, NoEngineLeft, Scored
from cluster.actors.fleet.questions import Questions
from cluster.causes.cause import find_cause
from cluster.causes.chain import first_cause
from rollout.types import Finish, Prompt, Response, SampledGroup, Verdict
from tests.toys.run import run_config, toy_summary

PROMPT = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="exact")


class ToyEngineActor:
    """Answers one turn of the event loop later, or fails as told."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fails: BaseException | None = None
        self.respond = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self.ask))
        self.line = SimpleNamespace(remote=self.elsewhere)

    async def elsewhere(self) -> str:
        """An engine on another node than the driver."""
        return "/nowhere/line"

    def ask(self, group_id: int, prompt: Prompt, size: int, temperature: float | None, texts: int, learned: bool, together: bool) -> Any:
        self.asked.append(group_id)

        async def head() -> Any:
            await asyncio.sleep(0.01)
            if self.fails:
                raise self.fails
            return toy_summary(group_id, [1.0] * size), []

        tokens = [f"{group_id}"] if together else [f"{group_id}.{member}" for member in range(size)]
        return [head(), *tokens] if learned else head()


class EngineDeadError(Exception):
    """Named as the error of a vLLM front whose engine process is gone."""


def raised_in_an_actor(error: Exception) -> ray.exceptions.RayTaskError:
    """The error as Ray hands it to the caller: of a class that is also the error's own."""
    return ray.exceptions.RayTaskError("respond", f"Traceback\n{error}", error, proctitle="engine", ip="127.0.0.1").as_instanceof_cause()


WITHOUT_WORDS = {"keep_capsules": 0}  # a last part of a group is for capsules


def pool_of(count: int, folder: Path = Path("run")) -> tuple[EnginePool, list[ToyEngineActor], list[int], list[Any]]:
    actors = [ToyEngineActor() for _ in range(count)]
    retried: list[int] = []
    killed: list[Any] = []
    return EnginePool(run_config(folder, run=WITHOUT_WORDS), actors, retried.append, kill=killed.append), actors, retried, killed


def respond(pool: EnginePool, groups: int) -> list[Scored]:
    async def ask() -> list[Scored]:
        return await asyncio.gather(*(pool.respond(group_id, PROMPT, 4) for group_id in range(groups)))

    return asyncio.run(ask())


def test_groups_go_to_the_engine_with_least_to_do():
    pool, actors, _, _ = pool_of(3)
    scored = respond(pool, 7)
    assert [actor.asked for actor in actors] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [(one.engine, one.learnable.tokens, one.summary.group_id) for one in scored[:2]] == [
        (0, ["0.0", "0.1", "0.2", "0.3"], 0), (1, ["1.0", "1.1", "1.2", "1.3"], 1)
    ]  # fmt: skip
    assert [engine.outstanding for engine in pool.engines] == [0, 0, 0]


@pytest.mark.parametrize(("on_one_node", "tokens", "objects"), [(True, ["0"] * 4, 2), (False, ["0.0", "0.1", "0.2", "0.3"], 5)])
def test_the_tokens_of_a_group_are_one_object_where_all_ranks_are_on_one_node(on_one_node: bool, tokens: list[str], objects: int):
    pool, actors, _, _ = pool_of(1)
    pool.ranks_on_one_node = lambda: on_one_node
    returned: list[int] = []
    ask = actors[0].ask
    actors[0].respond = SimpleNamespace(options=lambda num_returns: returned.append(num_returns) or SimpleNamespace(remote=ask))
    assert respond(pool, 1)[0].learnable.tokens == tokens
    assert returned == [objects]


@pytest.mark.parametrize("death", [ray.exceptions.RayActorError(), EngineDeadError("core process is gone")])
def test_the_groups_of_a_dead_engine_go_to_another_and_it_is_killed_once(death: BaseException):
    if isinstance(death, EngineDeadError):
        death = raised_in_an_actor(death)
    pool, actors, retried, killed = pool_of(2)
    actors[0].fails = death
    scored = respond(pool, 6)
    assert [one.engine for one in scored] == [1] * 6
    assert sorted(retried) == actors[0].asked == [0, 2, 4]
    assert killed == [actors[0]]
    assert [engine.index for engine in pool.alive] == [1]


def test_each_dead_engine_is_announced_and_the_last_one_is_the_cause_of_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "logs").mkdir()
    for index, name in enumerate(("SIGSEGV", "SIGABRT")):
        (tmp_path / "logs" / f"engine-{index}.log").write_text(f"loading\n*** {name} received at time=1 on cpu 1 ***\n")
    pool, actors, _, _ = pool_of(2, tmp_path)
    actors[0].fails = ray.exceptions.RayActorError()
    assert [one.engine for one in respond(pool, 1)] == [1]
    said = capsys.readouterr().out
    assert said.startswith("warning: engine 0 died; its groups go on elsewhere. ProcessDied: engine 0: killed by SIGSEGV; its log: ")
    actors[1].fails = ray.exceptions.RayActorError()
    with pytest.raises(NoEngineLeft, match="all 2 engines have died, engine 1 as the last") as ended:
        respond(pool, 1)
    assert capsys.readouterr().out == ""
    cause = find_cause(ended.value)
    assert (cause.role, cause.line) == ("engine 1", "ProcessDied: engine 1: killed by SIGABRT")


def test_what_a_living_engine_raises_is_the_error_of_the_group_and_not_its_death():
    pool, actors, retried, killed = pool_of(2)
    actors[0].fails = ValueError("bad prompt")
    with pytest.raises(ValueError, match="bad prompt"):
        respond(pool, 1)
    assert (retried, killed, len(pool.alive)) == ([], [], 2)


def test_an_engine_does_not_die_of_the_death_of_the_reward_actor_which_ends_the_run_as_its_cause():
    pool, actors, retried, killed = pool_of(2)
    death = ray.exceptions.ActorDiedError()
    actors[0].fails = raised_in_an_actor(death)
    assert isinstance(actors[0].fails, ray.exceptions.ActorDiedError)
    with pytest.raises(ray.exceptions.ActorDiedError) as ended:
        respond(pool, 1)
    assert first_cause(ended.value) is death
    assert (retried, killed, len(pool.alive)) == ([], [], 2)


def test_a_group_that_is_never_finished_is_named_with_its_engine():
    pool, actors, _, _ = pool_of(1)

    async def never() -> Any:
        await asyncio.sleep(3600)

    actors[0].respond = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=lambda *_: [never(), *"tttt"]))
    with pytest.raises(TimeoutError, match=r"engine 0 did not finish group 0 within run\.deadline_s \(0\.6 s\)"):
        respond(pool, 1)


def test_tokens_and_experts_stay_in_the_part_that_the_driver_never_fetches():
    experts = np.zeros((1000, 48, 8), np.uint8)
    actor = object.__new__(EngineActor)
    actor.config, actor.index, actor._groups = run_config(Path("run"), run=WITHOUT_WORDS), 0, []

    async def respond_group(*_: Any) -> AsyncIterator[tuple[int, Response]]:
        for member in range(4):
            yield (
                member,
                Response(
                    token_ids=np.ones(3, np.int32),
                    logprobs=None,
                    finish=Finish.STOP,
                    oldest_version=0,
                    newest_version=0,
                    text="1",
                    routed_experts=experts,
                ),
            )

    async def score(asked: list[Any]) -> list[Verdict]:
        return [Verdict(reward=1.0) for _ in asked]

    actor.engine = SimpleNamespace(respond_group=respond_group)
    actor.questions = Questions(actor.config, SimpleNamespace(score=SimpleNamespace(remote=score)))
    head, *parts = asyncio.run(actor.respond(0, PROMPT, 4, None, 1, True))
    assert len(pickle.dumps(head)) < 10_000
    assert [len(sampled) for sampled in parts] == [3] * 4, "engines that record no experts send none"
    actor.config = run_config(Path("run"), run=WITHOUT_WORDS, rollout={"capture_routing": True})
    _, *parts = asyncio.run(actor.respond(0, PROMPT, 4, None, 1, True))
    assert max(len(pickle.dumps(sampled)) for sampled in parts[:4]) < 1000
    assert all(recorded is experts for recorded in parts[4:])
    head, whole, *parts = asyncio.run(actor.respond(0, PROMPT, 4, None, 1, True, True))
    assert isinstance(whole, SampledGroup), "where all ranks are on one node the tokens are one part"
    assert [len(sampled) for sampled in whole.responses] == [3] * 4
    assert all(recorded is experts for recorded in parts), "experts are fetched one by one all the same"
    assert len(parts) == 4
    summary, _ = asyncio.run(actor.respond(0, PROMPT, 4, None, 1, False))
    assert summary.group_id == 0, "a group that is not learned is its head alone"
