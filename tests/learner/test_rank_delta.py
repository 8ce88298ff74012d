"""The patches of all ranks, under every ZeRO stage and with spread experts, are what a step changed: bit for bit, and each number once."""

from typing import Any

import pytest

from tests.conftest import RankResults
from tests.toys.ranks import LOADED, SAVED, SAVED_FAMILIES

pytestmark = pytest.mark.end_to_end

RUNS = [(2, f"{name}.saved") for name in (SAVED | SAVED_FAMILIES)] + [(world, load) for world, load, _ in LOADED]

OFFLOADED = {"zero0.offload3"}  # parameters that lie elsewhere than the rank computes


@pytest.mark.parametrize(("world", "run"), RUNS)
def test_the_patches_of_all_ranks_make_the_new_weights_of_the_old_ones(ranks: RankResults, world: int, run: str) -> None:
    found: dict[str, Any] = ranks.of("state")[run, world]["patched"]
    if run in OFFLOADED:
        assert "offloaded shards" in found["refused"]
        return
    assert found["wrong"] == []
    assert found["uncarried"] == []
    assert found["moved"] > 0, "a step that changes nothing proves nothing"
    assert found["written"] == sum(found["shares"])
    assert found["again"] == 0, "a patch counts as published"
    assert all(found["shares"]), "every rank has a share"
