"""Engines that start, die, are started again, join and leave."""

import asyncio
from typing import Any

import pytest
import ray

from benchmarks.faults.clock import run_virtually
from cluster.actors.engines import NoEngineLeft
from cluster.publish.renewing import renewing
from tests.toys.engines import kill
from tests.toys.fleet import DEAD, DEADLINE_S, LEAVING, SERVING, STALE, STARTING, Site, on


def test_a_fleet_starts_stale_and_serves_once_a_publish_has_proven_it():
    async def main() -> None:
        site = Site(2)
        started = asyncio.gather(site.fleet.start(0), site.fleet.start(1))
        await asyncio.sleep(1)
        assert (site.health, site.pool.alive) == ([STARTING] * 2, [])
        await started
        assert (site.health, len(site.pool.alive), site.pool.serving) == ([STALE] * 2, 2, [])
        waiting = asyncio.create_task(site.respond(0))
        await asyncio.sleep(50)
        assert not waiting.done(), "an engine that nobody has proven gets no group"
        site.publish()
        assert (await waiting).engine == 0
        assert site.health == [SERVING] * 2
        await site.fleet.close()

    run_virtually(main)


def test_a_dead_engine_is_started_again_and_serves_after_the_next_publish_while_the_other_goes_on():
    async def work(site: Site) -> None:
        kill(site.actors[1][0])
        await asyncio.sleep(2.5)  # nobody asked it for anything
        assert site.health == [SERVING, STARTING]
        assert [(await site.respond(number)).engine for number in range(2)] == [0, 0]
        await asyncio.sleep(site.start_s)
        assert site.health == [SERVING, STALE]
        assert (site.pool.engines[1].life, site.pool.engines[1].name) == (1, "engine 1")
        site.publish()
        made = await asyncio.gather(site.respond(2), site.respond(3))
        assert [scored.learnable.tokens[0] for scored in made] == ["2.0 of 0.0", "3.0 of 1.1"]
        assert site.said[-1] == "engine 1 is started again and serves"
        counts = site.pool.counts()
        assert (counts["engines/died"], counts["engines/restarts"], counts["engines/serving"]) == (1, 1, 2)
        assert site.pool.counts()["engines/died"] == 0, "each is counted in one step"

    on(work)


def test_a_run_waits_for_the_one_engine_that_starts_when_all_are_dead():
    async def work(site: Site) -> None:
        group = asyncio.create_task(site.respond(0))
        await asyncio.sleep(0.5)
        kill(site.actors[0][0])
        published: list[float] = []

        async def publish() -> None:
            published.append(asyncio.get_running_loop().time())
            site.publish()

        made = await renewing(site.pool, publish, lambda: group)
        assert made.learnable.tokens[0] == "0.0 of 0.1"
        assert len(published) == 1
        assert site.retried == [0]

    on(work, engines=1)


def test_a_publish_that_has_begun_is_finished_before_the_work_that_it_was_for_is_returned():
    async def work(site: Site) -> None:
        kill(site.actors[0][0])
        done = asyncio.get_running_loop().create_future()

        async def publish() -> None:
            done.set_result("work")
            await asyncio.sleep(30)
            site.publish()

        assert await renewing(site.pool, publish, lambda: done) == "work"
        assert site.health == [SERVING]

    on(work, engines=1)


def test_a_stop_waits_for_a_publish_that_has_begun():
    async def work(site: Site) -> None:
        finished: list[str] = []

        async def publish() -> None:
            await asyncio.sleep(30)
            finished.append("publish")

        kill(site.actors[0][0])
        waiting = asyncio.create_task(renewing(site.pool, publish, asyncio.Event().wait))
        await asyncio.sleep(2.5 + 1 + site.start_s + 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert finished == ["publish"]

    on(work, engines=1)


@pytest.mark.parametrize(("restarts", "fails", "starts"), [(0, 0, 0), (2, 9, 2), (3, 2, 3)])
def test_a_start_that_fails_counts_and_says_why_and_in_the_end_the_run_ends(restarts: int, fails: int, starts: int):
    async def work(site: Site) -> None:
        site.fails = fails
        kill(site.actors[0][0])
        await asyncio.sleep(2.5)  # until the next pulse
        if restarts > fails:
            await site.pool.some_alive()
            assert site.health == [STALE]
        else:
            with pytest.raises(NoEngineLeft, match="engine 0 as the last"):
                await site.respond(0)
            assert isinstance(site.pool.dead[-1].cause.__cause__ or site.pool.dead[-1].cause, ray.exceptions.RayActorError)
        failed = [line for line in site.said if "engine 0 could not start" in line]
        assert len(site.actors[0]) == 1 + starts
        assert len(failed) == min(starts, fails)
        assert all("ProcessDied: engine 0" in line for line in failed)
        if restarts == 2:
            assert ["1 of 2 restarts left" in failed[0], "it is not started again" in failed[1]] == [True, True]

    on(work, engines=1, restarts=restarts)


def test_restarts_are_counted_for_each_engine_and_within_the_window_only():
    async def work(site: Site) -> None:
        for _ in range(4):
            kill(site.actors[0][-1])
            await asyncio.sleep(400)
            site.publish()
        assert site.health == [SERVING, SERVING]
        for _ in range(3):
            kill(site.actors[1][-1])
            await asyncio.sleep(20)
        assert [len(site.actors[index]) for index in (0, 1)] == [5, 3]
        assert site.health == [SERVING, DEAD]

    on(work, restarts=2, restart_window_s=700)


def test_a_start_that_hangs_is_given_up_long_before_the_deadline():
    async def work(site: Site) -> None:
        site.start_s = 1e6
        kill(site.actors[0][0])
        await asyncio.sleep(2.5)
        with pytest.raises(NoEngineLeft):
            await site.pool.some_alive()
        assert asyncio.get_running_loop().time() < DEADLINE_S / 2
        assert [line for line in site.said if "far longer than starts before it took" in line], site.said

    on(work, engines=1, restarts=2)


def test_more_engines_join_after_the_next_publish_and_fewer_leave_when_they_have_nothing_to_do():
    async def work(site: Site) -> None:
        site.room = 3
        site.fleet.want(4)
        await asyncio.sleep(20)
        assert site.health == [SERVING, SERVING, STALE], "there is room for three"
        site.room = 4
        await asyncio.sleep(20)
        site.publish()
        assert site.health == [SERVING] * 4
        groups = [asyncio.create_task(site.respond(number)) for number in range(4)]
        await asyncio.sleep(0.1)
        site.fleet.want(1)
        assert site.health == [SERVING, LEAVING, LEAVING, LEAVING]
        site.publish()
        assert site.health == [SERVING, LEAVING, LEAVING, LEAVING], "they finish what they have"
        assert sorted(scored.engine for scored in await asyncio.gather(*groups)) == [0, 1, 2, 3]
        site.fleet.want(2)
        assert site.health == [SERVING, SERVING, LEAVING, LEAVING], "one stays after all"
        site.publish()
        await asyncio.sleep(1)
        assert site.health == [SERVING, SERVING, DEAD, DEAD]
        assert sorted(site.closed) == [2, 3]
        assert (site.retried, site.pool.dead) == ([], [])
        assert [(await site.respond(number)).engine for number in (5, 6)] == [0, 0]

    on(work)


def test_engines_that_come_and_go_use_up_no_restarts_and_one_that_is_not_proven_never_serves():
    async def work(site: Site) -> None:
        for _ in range(5):
            site.fleet.want(2)
            await asyncio.sleep(20)
            assert site.health == [SERVING, STALE]
            site.fleet.want(1)
            assert site.health == [SERVING, LEAVING]
            site.fleet.want(2)
            assert site.health == [SERVING, STALE]
            site.fleet.want(1)
            site.publish()
            site.fleet.want(2)
            assert site.health == [SERVING, DEAD], "its place is not free before it has ended"
            site.fleet.want(1)
            await asyncio.sleep(1)
        assert site.closed == [1] * 5
        assert site.pool.counts()["engines/restarts"] == 0
        site.fleet.want(2)
        await asyncio.sleep(1)
        site.fleet.want(1)
        await asyncio.sleep(20)
        assert site.health == [SERVING, LEAVING], "it was starting when it was no longer wanted"

    on(work, engines=1, restarts=1, room=2)


@pytest.mark.parametrize("count", [0, -1])
def test_a_fleet_of_no_engines_is_refused(count: int):
    async def work(site: Site) -> None:
        with pytest.raises(ValueError, match="at least 1 engine"):
            site.fleet.want(count)

    on(work)


def test_a_fleet_that_closes_starts_nothing_any_more():
    async def main() -> None:
        site = Site(2)
        await site.begin()
        kill(site.actors[0][0])
        await asyncio.sleep(4)
        assert site.health[0] is STARTING
        await site.fleet.close()
        kill(site.actors[1][0])
        site.pool.bury(site.pool.engines[1], RuntimeError("gone"))
        await asyncio.sleep(100)
        assert [len(lives) for lives in site.actors.values()] == [2, 1]
        assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}

    run_virtually(main)


def test_an_error_in_the_background_ends_the_run_and_not_only_its_task():
    async def work(site: Site) -> None:
        def launch(index: int) -> Any:
            raise ValueError("a bug")

        site.fleet.launch = launch
        kill(site.actors[0][0])
        with pytest.raises(ValueError, match="a bug"):
            await site.respond(0)

    on(work, engines=1)


def test_engines_that_share_gpus_with_ranks_are_not_started_again():
    async def work(site: Site) -> None:
        kill(site.actors[0][0])
        await asyncio.sleep(100)
        assert site.health == [DEAD, SERVING]
        assert len(site.actors[0]) == 1

    on(work, share=True)
