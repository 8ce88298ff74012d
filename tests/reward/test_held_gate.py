"""Episodes that need a world and an interpreter: who comes in, who waits, and that nobody waits for ever."""

import asyncio
from random import Random

import pytest

from reward.held.gate import Gate


def test_as_many_come_in_as_there_are_places_first_come_first_served() -> None:
    async def main() -> None:
        gate = Gate(1)
        await gate.enter("a")
        await gate.enter("a")
        waiting = {name: asyncio.ensure_future(gate.enter(name)) for name in ("b", "c", "d")}
        await asyncio.sleep(0)
        waiting["b"].cancel()
        await asyncio.sleep(0)
        gate.leave("a")
        await asyncio.sleep(0)
        assert [name for name, task in waiting.items() if task.done() and not task.cancelled()] == ["c"], "b is not wanted any more"
        gate.leave("nobody")
        gate.leave("c")
        await waiting["d"]

    asyncio.run(main())


def test_an_engine_that_is_gone_leaves_with_all_its_episodes() -> None:
    async def main() -> None:
        gate = Gate(2)
        await asyncio.gather(gate.enter("engine-1.0/a"), gate.enter("engine-1.0/b"))
        waiting = [asyncio.ensure_future(gate.enter(name)) for name in ("engine-1.0/c", "engine-10.0/a", "engine-2.0/a")]
        await asyncio.sleep(0)
        gate.leave("engine-1.0/")
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert gate._inside == {"engine-10.0/a", "engine-2.0/a"}

    asyncio.run(main())


async def play(draw: Random, most: int, *, gated: bool) -> None:
    """Twelve episodes that need a world and an interpreter in any order, and six that need an interpreter alone."""
    worlds, interpreters, gate = asyncio.Semaphore(most), asyncio.Semaphore(most), Gate(most)

    async def episode(name: str, needs: list[asyncio.Semaphore]) -> None:
        for _ in range(draw.randrange(5)):
            await asyncio.sleep(0)
        if gated and worlds in needs:
            await gate.enter(name)
        for need in needs:
            await need.acquire()
            for _ in range(draw.randrange(5)):
                await asyncio.sleep(0)
        for need in needs:
            need.release()
        gate.leave(name)

    both = [episode(f"both {number}", draw.sample([worlds, interpreters], 2)) for number in range(12)]
    await asyncio.wait_for(asyncio.gather(*both, *(episode(f"one {number}", [interpreters]) for number in range(6))), 0.5)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_nobody_waits_for_ever_for_what_another_one_has(most: int) -> None:
    for seed in range(20):
        asyncio.run(play(Random(seed), most, gated=True))


def test_without_the_gate_they_would() -> None:
    with pytest.raises(TimeoutError):  # noqa: PT012
        for seed in range(20):
            asyncio.run(play(Random(seed), 1, gated=False))
