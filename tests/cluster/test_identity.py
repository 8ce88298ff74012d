"""The identity publish, with engines that are lost in it."""

from typing import Any

import numpy as np
import pytest

from benchmarks.faults.clock import run_virtually
from cluster.actors.engines import NoEngineLeft
from cluster.publish.identity import prove_identity
from cluster.publish.publisher import PublishFailed
from rollout.types import Prompt
from tests.cluster.test_publisher import Site
from tests.toys.publish import NAMES

PROMPTS = [Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="exact")]


def a_run_that_begins() -> Site:
    """Engines that have the learner's weights already."""
    site = Site(3)
    for engine in site.engines:
        engine.version, engine.weights = 0, dict.fromkeys(NAMES, 0)
    site.ranks[0].value = 0
    return site


@pytest.mark.parametrize("how", ["die", "hang"])
@pytest.mark.parametrize("after", [False, True], ids=["before the publish", "after it"])
def test_an_engine_that_is_lost_at_its_probe_costs_only_itself(how: str, after: bool) -> None:
    async def main() -> Site:
        site = a_run_that_begins()

        def strike(*_: Any) -> None:
            site.engines[1].faults["probe"] = how

        if after:
            site.publisher.on_proven = strike
        else:
            strike()
        await prove_identity(site.publisher, PROMPTS)
        return site

    site, _ = run_virtually(main)
    site.assert_serves(0, 0, 2)
    assert site.killed == [1]


def test_a_run_that_loses_every_engine_in_it_ends_and_names_the_last() -> None:
    async def main() -> None:
        site = a_run_that_begins()
        for engine in site.engines:
            engine.faults["probe"] = "die"
        with pytest.raises((PublishFailed, NoEngineLeft)):
            await prove_identity(site.publisher, PROMPTS)

    run_virtually(main)


def test_an_engine_with_other_weights_ends_the_run() -> None:
    async def main() -> None:
        site = a_run_that_begins()
        site.engines[2].version = 7
        with pytest.raises(PublishFailed, match="engine 2 answers probe 0 differently after the identity publish"):
            await prove_identity(site.publisher, PROMPTS)

    run_virtually(main)
