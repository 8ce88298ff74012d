"""An actor that Ray has started again is reported once, with the process that died."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from cluster.actors import start
from cluster.causes.roles import Role


def test_each_restart_is_said_once_and_the_end_of_the_actor_ends_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "EVERY_S", 0)
    answers, said = iter([7, 7, 8, 8, 9]), list[str]()

    async def process() -> int:
        if (found := next(answers, None)) is None:
            raise ray.exceptions.ActorDiedError
        return found

    actor = SimpleNamespace(process=SimpleNamespace(remote=process))
    asyncio.run(start.report_restarts(actor, Role("reward workers 0", Path("reward-0.log")), said.append))
    assert [line.partition(";")[0] for line in said] == [
        f"warning: reward workers 0 (process {number}) died and started again" for number in (7, 8)
    ]
