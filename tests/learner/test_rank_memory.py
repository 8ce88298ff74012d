"""What `configs.memory` says that a rank holds, against the tensors that real DeepSpeed ranks have."""

import json

import pytest

from configs.loader import load
from configs.memory.learner import states, weights
from configs.memory.sizes import sizes_of
from tests.conftest import RankResults
from tests.toys.memory_worker import OF_ITS_OWN
from tests.toys.ranks import MEMORIES

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize(("name", "overrides"), MEMORIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rank_holds_the_weights_gradients_and_optimizer_that_are_computed(ranks: RankResults, name: str, overrides: list[str]) -> None:
    config = load(ranks.folder / "config.toml", [*OF_ITS_OWN, *overrides, "learner.ranks=2"])
    sizes = sizes_of(json.loads((ranks.folder / "large" / "config.json").read_text(encoding="utf-8")))
    assert sizes is not None
    parts = {**states(config, sizes), **weights(config, sizes)}
    computed = sum(parts.values())
    measured = ranks.found[name, 2]
    assert computed == pytest.approx(measured["before"], rel=0.015), parts
    if config.learner.zero_stage < 3:  # the buffer of ZeRO-3's gradients stays
        assert computed - parts["gradients"] == pytest.approx(measured["after"], rel=0.015), parts
