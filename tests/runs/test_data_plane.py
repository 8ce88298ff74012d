"""Real objects on a simulated cluster of two nodes: what arrives on the learner's node after the engine died."""

import asyncio

import pytest

from benchmarks.plane_nodes import config_of_ranks, fetched_over_needed, two_nodes

pytestmark = pytest.mark.end_to_end


def test_a_learner_node_fetches_its_rows_and_the_death_of_the_engine_that_made_them_loses_nothing() -> None:
    with two_nodes():
        for replayed in (True, False):
            found = asyncio.run(fetched_over_needed(config_of_ranks(replayed)))
            assert 1 <= found["fetched"] / found["needed"] <= 1.1
            assert 0.45 < found["share of rank 0"] < 0.55
