"""Of a step's groups only those that are shown are weighed, with the advantages that they have among all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.record.metrics.responses import weighed_groups
from learner.loss.advantages import ADVANTAGES
from rollout.types import Prompt
from rollout.window.scored import Scored
from tests.toys.run import run_config, toy_summary

PROMPT = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="exact")
REWARDS = ([1.0, 0.0, 0.5], [0.0, 0.25, 1.0], [0.5, 0.5, 0.5], [1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    "objective",
    [*({"advantage": name} for name in ADVANTAGES if name != "none"), {"credit": "turn", "advantage": "leave_one_out"}],
    ids=lambda one: "-".join(one.values()),
)
def test_a_group_that_is_shown_has_the_advantages_that_it_has_among_all(tmp_path: Path, objective: dict[str, Any]) -> None:
    config = run_config(tmp_path, objective=objective)
    groups = [
        Scored(summary=toy_summary(place, rewards), texts=(), tokens=None, engine=0, prompt=PROMPT) for place, rewards in enumerate(REWARDS)
    ]
    every = weighed_groups(config, groups, range(len(groups)))
    for places in ({1}, {0, 3}, {2}):
        some = weighed_groups(config, groups, places)
        assert set(some) >= places
        for place in places:
            assert some[place].advantages.tolist() == every[place].advantages.tolist()
            assert some[place].summary is groups[place].summary
