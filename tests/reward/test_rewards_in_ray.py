"""A reward pool inside a Ray actor, asked by many callers at once."""

import pytest
import ray

from reward.workers.pool import Item, RewardPool
from rollout.types import Verdict

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(180)]


class Scorer:
    """An asynchronous actor that makes its pool where it uses it."""

    def __init__(self) -> None:
        self.pool = RewardPool(workers=1, timeout_s=2.0, memory_mb=1024, warm=["math"])

    async def score(self, items: list[Item]) -> list[Verdict]:
        return await self.pool.score(items)

    async def pids(self) -> list[int]:
        await self.pool.ready()
        return self.pool.pids

    def close(self) -> None:
        self.pool.close()


def test_a_pool_works_in_an_actor_and_its_workers_die_with_it() -> None:
    import psutil

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    try:
        actor = ray.remote(Scorer).options(max_concurrency=16).remote()
        right = [Item(checker="math", response=f"\\boxed{{{n}}}", reference=str(n)) for n in range(8)]
        hang = Item(checker="tests.toys.bad_checkers:hang", response="hang", reference=None)
        calls = [actor.score.remote([*right, hang]) for _ in range(4)]
        for verdicts in ray.get(calls, timeout=120):
            assert [v.reward for v in verdicts] == [1.0] * 8 + [None]
            assert verdicts[-1].failure == "timeout: more than 2 s to score the response"
        pids = ray.get(actor.pids.remote(), timeout=60)
        assert pids
        assert all(psutil.pid_exists(pid) for pid in pids)
        ray.kill(actor)
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20)
        assert alive == []
    finally:
        ray.shutdown()
