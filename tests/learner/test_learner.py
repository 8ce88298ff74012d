"""Settings that the learner refuses before its first step."""

from pathlib import Path
from typing import Any

import pytest

from configs.schema import Config
from learner.batch.recorded import ExpertShape
from learner.learner import refuse_without_routers
from tests.toys.run import run_config

TWO_UPDATES = {"updates_per_step": 2}
NEEDING: dict[str, dict[str, dict[str, Any]]] = {
    'learner.routing = "replay_learner"': {"learner": {"routing": "replay_learner", **TWO_UPDATES}},
    'learner.router = "frozen"': {"learner": {"router": "frozen"}},
    "learner.aux_loss = 0.5": {"learner": {"aux_loss": 0.5}},
    "objective.router_shift = 0.8": {"learner": TWO_UPDATES, "objective": {"preset": "gmpo", "router_shift": 0.8}},
}


def config_with(folder: Path, sections: dict[str, dict[str, Any]]) -> Config:
    return run_config(folder, **{"rollout": {"groups_per_step": 2}, **sections})


@pytest.mark.parametrize("setting", NEEDING)
def test_a_setting_that_needs_routers_is_refused_by_name_for_a_model_without(tmp_path: Path, setting: str) -> None:
    config = config_with(tmp_path, NEEDING[setting])
    with pytest.raises(ValueError, match="needs a mixture of experts whose routers can be followed") as refusal:
        refuse_without_routers(config, None)
    assert str(refusal.value).startswith(setting)
    assert config.model.path in str(refusal.value)
    refuse_without_routers(config, ExpertShape(layers=2, sparse=(1,), experts=4, top_k=2))


def test_a_model_without_routers_is_fine_where_nothing_needs_them(tmp_path: Path) -> None:
    refuse_without_routers(config_with(tmp_path, {}), None)
