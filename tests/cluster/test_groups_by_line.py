"""Groups over the line from the driver to an engine: what Ray would bring, and Ray wherever the line cannot answer."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from cluster.actors.engine_actor import EngineActor, GroupAborted
from cluster.actors.engines import EnginePool, Scored
from cluster.actors.fleet import line as lines
from cluster.actors.fleet.questions import Questions
from cluster.actors.learner_actor import LearnerActor, ObjectStore
from rollout.types import Finish, Prompt, Response, SampledGroup, Verdict
from rollout.window.scored import Packed
from tests.toys.run import run_config

PROMPT = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="exact")
SIZE = 4


class OneEngine:
    """An engine's actor in this process, called as through Ray, and how often it was."""

    def __init__(self, sections: dict[str, Any], fails: BaseException | None = None) -> None:
        self.actor = object.__new__(EngineActor)
        self.actor.config, self.actor.index, self.actor._groups = run_config(Path("run"), **sections), 0, []
        self.actor.engine = SimpleNamespace(respond_group=self.respond_group)  # type: ignore[assignment]
        self.actor.questions = Questions(self.actor.config, SimpleNamespace(score=SimpleNamespace(remote=self.score)))
        self.fails, self.through_ray, self.generated = fails, 0, 0
        self.begun, self.goes = asyncio.Event(), asyncio.Event()
        self.goes.set()
        self.gone = False
        self.line = SimpleNamespace(remote=self.actor.line)
        self.respond = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self.ask))

    async def respond_group(self, *_: Any) -> AsyncIterator[tuple[int, Response]]:
        self.generated += 1
        self.begun.set()
        await self.goes.wait()
        if self.fails:
            raise self.fails
        for member in range(SIZE):
            ids = np.full(member + 1, member, np.int32)
            yield member, Response(token_ids=ids, logprobs=None, finish=Finish.STOP, oldest_version=0, newest_version=0, text="1")

    async def score(self, asked: list[Any]) -> list[Verdict]:
        return [Verdict(reward=1.0) for _ in asked]

    def ask(self, *arguments: Any) -> list[Any]:
        """As Ray: a reference to each part."""
        self.through_ray += 1

        async def head() -> Any:
            if self.gone:
                raise ray.exceptions.RayActorError
            return (await self.actor.respond(*arguments))[0]

        return [head(), *"tokens"]


def pool_of(*engines: OneEngine, one_node: bool = True) -> EnginePool:
    pool = EnginePool(engines[0].actor.config, engines, lambda group_id: None, kill=lambda actor: None, say=lambda text: None)
    pool.ranks_on_one_node = lambda: one_node
    return pool


def packed(value: Any) -> Packed:
    return Packed(pickle.dumps(value))


def play(script: Callable[[], Any]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(5):
            return await script()

    return asyncio.run(main())


def tokens_on_a_rank(scored: Scored) -> list[list[int]]:
    """The responses of a group as a rank reads them."""
    rank = object.__new__(LearnerActor)
    rank.config = run_config(Path("run"))
    places = {(0, member): scored.learnable.tokens[member] for member in range(SIZE)}
    store = ObjectStore([PROMPT.token_ids], places, {}, rank.get)  # type: ignore[arg-type]
    return [sampled.token_ids.tolist() for sampled in store.sampled(list(places))]


def test_a_small_group_comes_over_the_line_and_a_rank_reads_its_bytes() -> None:
    async def script() -> None:
        engine = OneEngine({})
        pool = pool_of(engine)
        first, second, held_out = await asyncio.gather(
            pool.respond(0, PROMPT, SIZE), pool.respond(1, PROMPT, SIZE), pool.respond(0, PROMPT, SIZE, temperature=0.0, learned=False)
        )
        assert engine.through_ray == 0
        assert [one.summary.group_id for one in (first, second, held_out)] == [0, 1, 0]
        assert tokens_on_a_rank(first) == [[0], [1, 1], [2] * 3, [3] * 4]
        assert {type(part) for part in first.learnable.tokens} == {Packed}
        assert held_out.tokens is None
        assert pool.engines[0].outstanding == 0

    play(script)


@pytest.mark.parametrize(
    ("sections", "one_node"),
    [
        ({"rollout": {"max_response_tokens": 10_000}}, True),
        ({"rollout": {"capture_routing": True}}, True),
        ({}, False),
    ],
    ids=["large", "with experts", "ranks on several nodes"],
)
def test_objects_that_ranks_fetch_are_left_to_ray(sections: dict[str, Any], one_node: bool) -> None:
    async def script() -> None:
        engine = OneEngine({"run": {"keep_capsules": 0}} | sections)
        scored = await pool_of(engine, one_node=one_node).respond(0, PROMPT, SIZE)
        assert engine.through_ray == 1
        assert scored.learnable.tokens[0] == "t"

    play(script)


def test_what_a_group_raises_reaches_its_caller_as_ray_brings_it_and_nothing_is_done_twice() -> None:
    async def script() -> None:
        engine = OneEngine({}, ValueError("a bug of ours"))
        with pytest.raises(ValueError, match="a bug of ours") as caught:
            await pool_of(engine).respond(0, PROMPT, SIZE)
        assert isinstance(caught.value, ray.exceptions.RayTaskError)
        assert "respond_group" in str(caught.value), "the traceback comes along"
        assert (engine.generated, engine.through_ray) == (1, 0)

    play(script)


def test_an_aborted_group_is_not_asked_for_again() -> None:
    async def script() -> None:
        engine = OneEngine({})
        engine.goes.clear()
        asked = asyncio.ensure_future(pool_of(engine).respond(0, PROMPT, SIZE))
        await engine.begun.wait()
        await engine.actor.abort_all()
        with pytest.raises(GroupAborted):
            await asked
        assert (engine.generated, engine.through_ray) == (1, 0)

    play(script)


def test_a_group_whose_engine_dies_goes_to_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    writers = []
    serve = lines.serve

    async def noting(reader: Any, writer: asyncio.StreamWriter, answer: Any) -> None:
        writers.append(writer)
        await serve(reader, writer, answer)

    monkeypatch.setattr(lines, "serve", noting)

    async def script() -> None:
        first, second = OneEngine({}), OneEngine({})
        first.goes.clear()
        pool = pool_of(first, second)
        asked = asyncio.ensure_future(pool.respond(0, PROMPT, SIZE))
        await first.begun.wait()
        first.gone = True
        writers[0].transport.abort()
        scored = await asked
        assert (scored.engine, second.through_ray) == (1, 0)
        assert tokens_on_a_rank(scored) == [[0], [1, 1], [2] * 3, [3] * 4]
        assert [engine.index for engine in pool.alive] == [1]

    play(script)


def test_bytes_and_objects_are_read_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = object.__new__(LearnerActor)
    rank.config = run_config(Path("run"))
    monkeypatch.setattr(ray, "get", lambda objects, timeout: [f"object {one}" for one in objects])
    mixed = ["a", packed(1), "b", packed(SampledGroup(())), packed(None)]
    assert rank.get(mixed) == ["object a", 1, "object b", SampledGroup(()), None]
    assert rank.get([]) == []


def test_ray_sends_a_group_once_to_a_rank_that_has_several_places_of_it() -> None:
    """Ray writes a mapping of bytes value by value; then a rank would read a group as often as it has members."""
    from ray._private.serialization import SerializationContext

    one, other = packed("x" * 10_000), packed("y")
    handed = {(0, 0): one, (0, 1): one, (1, 0): other}
    context = SerializationContext(ray._private.worker.global_worker)
    assert context.serialize(handed).total_bytes < 15_000
