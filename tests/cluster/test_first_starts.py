"""The engines with which a run begins."""

import asyncio

import pytest

from benchmarks.faults.clock import run_virtually
from cluster.causes.roles import RoleFailed
from tests.toys.engines import kill
from tests.toys.fleet import DEADLINE_S, SERVING, STALL_S, Site


@pytest.mark.parametrize(("dies", "lasts_s"), [(True, 5.0), (False, 25.0), (False, 2 * DEADLINE_S)], ids=["dies", "slow", "hangs"])
def test_an_engine_that_is_lost_in_its_first_start_costs_only_itself(dies: bool, lasts_s: float):
    async def main() -> None:
        site = Site(2, restarts=1)
        site.first_s[1] = lasts_s
        starting = asyncio.create_task(site.fleet.start_all())
        await asyncio.sleep(1)
        if dies:
            kill(site.actors[1][0])
        await starting
        began = asyncio.get_running_loop().time()
        assert began == pytest.approx(5.0 if dies else min(lasts_s, 5.0 + 3 * 5.0 + STALL_S), abs=0.1)
        site.fleet.begin()
        site.publish()
        assert (await site.respond(0)).engine == 0, "nobody waits for the other one"
        await asyncio.sleep(DEADLINE_S + 10)
        site.publish()
        assert site.health == [SERVING] * 2
        assert len(site.actors[1]) == (1 if lasts_s == 25.0 else 2)
        await site.fleet.close()

    run_virtually(main)


@pytest.mark.parametrize("share", [False, True])
def test_a_run_ends_at_once_where_too_few_engines_can_start(share: bool):
    async def main() -> None:
        site = Site(2, share=share)
        starting = asyncio.create_task(site.fleet.start_all())
        await asyncio.sleep(1)
        for index in (1,) if share else (0, 1):
            kill(site.actors[index][0])
        with pytest.raises(RoleFailed, match=r"engine \d could not start"):
            await starting
        assert asyncio.get_running_loop().time() < 2
        await site.fleet.close()

    run_virtually(main)
