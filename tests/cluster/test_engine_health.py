"""Engines that hang, are slow, or have a group that is late."""

import asyncio
from typing import Any

import pytest

from cluster.actors.fleet.watch import Progress
from rollout.engine.pulse import Pulse
from rollout.window.scored import Scored
from tests.toys.engines import kill
from tests.toys.fleet import DEAD, SERVING, STALL_S, SUSPECT, Site, on


@pytest.mark.parametrize("fault", ["frozen core", "mute actor"])
def test_an_engine_without_progress_is_suspect_then_killed_and_its_groups_are_made_elsewhere(fault: str):
    async def work(site: Site) -> None:
        victim, began = site.actors[0][0], asyncio.get_running_loop().time()
        groups = [asyncio.create_task(site.respond(number)) for number in range(4)]
        await asyncio.sleep(0.1)
        victim.frozen.set()
        victim.mute = fault == "mute actor"
        await asyncio.sleep(STALL_S + 2 * site.fleet.watch.every_s)
        assert site.health[0] is SUSPECT
        extra = [await site.respond(10 + number) for number in range(3)]
        assert [scored.engine for scored in extra] == [1, 1, 1], "a suspect gets no new groups"
        made = await asyncio.gather(*groups)
        assert [scored.engine for scored in made] == [1] * 4
        assert asyncio.get_running_loop().time() - began < 3 * STALL_S
        assert victim.dead.is_set()
        assert sorted(site.retried) == [0, 2]
        assert ("suspect", "engine 0") in site.events
        assert ("dead", "engine 0") in site.events
        assert any("EngineStalled: engine 0 was killed: " in line and "rollout.stall_s = 10" in line for line in site.said)

    on(work)


@pytest.mark.parametrize("gap_s", [0.5, 8.0])
def test_a_slow_engine_is_not_a_dead_one(gap_s: float):
    """A token every eight seconds is slow, and shorter than the bound."""

    async def work(site: Site) -> None:
        slow = site.actors[0][0]
        slow.takes_s, slow.tokens = 500.0, 0
        slow.frozen.set()
        group = asyncio.create_task(site.respond(0))
        for _ in range(int(400 / gap_s)):
            await asyncio.sleep(gap_s)
            slow.tokens += 1
        assert site.health == [SERVING, SERVING]
        slow.frozen.clear()
        assert (await group).engine == 0
        assert site.pool.counts()["engines/suspected"] == 0

    on(work)


def test_a_suspect_that_makes_progress_serves_again():
    async def work(site: Site) -> None:
        site.actors[0][0].takes_s = 40.0
        group = asyncio.create_task(site.respond(0))
        await asyncio.sleep(1)
        site.actors[0][0].frozen.set()
        await asyncio.sleep(1.5 * STALL_S)
        assert site.health == [SUSPECT, SERVING]
        site.actors[0][0].frozen.clear()
        await asyncio.sleep(5)
        assert site.health == [SERVING, SERVING]
        assert (await group).engine == 0
        assert site.pool.counts()["engines/suspected"] == 1

    on(work)


@pytest.mark.parametrize("paused", [False, True])
def test_an_idle_or_paused_engine_that_answers_is_well_and_one_that_does_not_is_killed(paused: bool):
    async def work(site: Site) -> None:
        for lives in site.actors.values():
            lives[0].paused = paused
        await asyncio.sleep(20 * STALL_S)
        assert site.health == [SERVING, SERVING]
        site.actors[1][0].frozen.set()
        await asyncio.sleep(3 * STALL_S)
        assert site.actors[1][0].dead.is_set()

    on(work)


@pytest.mark.parametrize(
    ("pulse", "moves"),
    [
        ({"requests": 2, "paused": False, "beats": 9}, False),  # a core that answers and makes no token
        ({"requests": 2, "paused": False, "steps": 8}, True),  # it reads a long prompt
        ({"requests": 2, "paused": False, "tokens": 8}, True),
        ({"requests": 2, "paused": True, "beats": 9}, True),  # a publish keeps it from working
        ({"requests": 2, "paused": True}, False),  # and its core does not even answer
        ({"requests": 0, "paused": False, "beats": 9}, True),
        ({"requests": 0, "paused": False}, False),
        ({"requests": 0, "paused": True, "updating": True}, True),  # it waits in a collective, which has a deadline of its own
        ({"requests": 0, "paused": True, "updating": True, "stopped": True}, False),
    ],
)
def test_what_counts_as_progress(pulse: Any, moves: bool):
    before = Pulse(tokens=7, steps=7, beats=7, requests=2, paused=False)
    progress = Progress(0.0)
    progress.observe(before, 1.0)
    progress.observe(before | pulse, 2.0)
    assert progress.moved_at == (2.0 if moves else 1.0)


def test_a_driver_that_stood_still_blames_no_engine():
    async def work(site: Site) -> None:
        await asyncio.sleep(7)
        asyncio.get_running_loop().clock.now += 50 * STALL_S  # as if this process had been stopped
        await asyncio.sleep(STALL_S)
        assert site.health == [SERVING, SERVING]
        assert site.pool.counts()["engines/suspected"] == 0

    on(work)


async def straggle(site: Site) -> tuple[Scored, list[str]]:
    """Six groups of a second each, then one that its engine takes 200 s for while the other engine is idle."""
    late: list[str] = []
    site.pool.on_straggler = late.append
    for number in range(6):
        await site.respond(number)
    site.actors[0][0].takes_s = 200.0
    return await site.respond(7), late


def test_a_group_that_is_much_older_than_its_neighbours_is_named_once_and_not_hedged_unasked():
    async def work(site: Site) -> None:
        scored, late = await straggle(site)
        assert scored.engine == 0
        assert len(late) == 1
        assert late[0].startswith("group 7 on engine 0 takes 1")
        counts = site.pool.counts()
        assert (counts["groups/stragglers"], counts["groups/hedged"]) == (1, 0)

    assert on(work) > 200


def test_a_hedged_group_is_kept_once_and_its_other_run_is_aborted():
    async def work(site: Site) -> None:
        scored, _ = await straggle(site)
        await asyncio.sleep(1)
        assert scored.engine == 1
        assert scored.learnable.tokens[0] == "7.0 of 1.0"
        assert site.actors[0][0].aborted == [(7, False)]
        assert site.actors[1][0].aborted == []
        assert (site.pool.counts()["groups/hedged"], site.retried) == (1, [])
        assert [engine.outstanding for engine in site.pool.engines] == [0, 0]
        assert ("hedged", "engine 1") in site.events

    assert on(work, hedge=True) < 50


@pytest.mark.parametrize("dies", [0, 1])
def test_a_hedged_group_survives_the_death_of_either_engine(dies: int):
    async def work(site: Site) -> None:
        site.actors[1][0].takes_s = 1.0
        for number in range(6):
            await site.respond(number)
        site.actors[0][0].takes_s = site.actors[1][0].takes_s = 100.0
        group = asyncio.create_task(site.respond(7))
        await asyncio.sleep(20)
        assert all(lives[0].asked[-1] == 7 for lives in site.actors.values())
        kill(site.actors[dies][0])
        assert (await group).engine == 1 - dies
        assert site.retried == [], "it was never without an engine"

    on(work, hedge=True, restarts=0)


def test_engines_drop_their_groups_when_asked_and_one_that_does_not_is_killed():
    async def work(site: Site) -> None:
        group = asyncio.create_task(site.respond(0))
        await asyncio.sleep(0.1)
        kill(site.actors[1][0])
        await site.pool.drop_groups()
        assert site.actors[0][0].dropped == 1
        assert site.health == [SERVING, DEAD]
        group.cancel()
        await asyncio.wait([group])
        await asyncio.sleep(0)
        assert site.pool.engines[0].outstanding == 0

    on(work)
