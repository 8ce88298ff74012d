"""The experts that a real engine records are those that the learner takes for the same tokens, cached and paused on the way or not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.loader import load
from learner.batch.row import Row
from learner.experts.routers import attach, expert_shape
from learner.experts.routing import Recorder
from learner.model.policy import load_policy
from rollout.types import Group, Verdict
from tests.toys.batches import whole_batch
from tests.toys.capture_worker import LONG, OVERRIDES

pytestmark = pytest.mark.end_to_end


def test_every_token_fed_to_the_engine_has_a_row_of_bytes(answered: dict[str, Any]) -> None:
    for response in answered["responses"]:
        assert response.routed_experts is not None
        assert response.routed_experts.shape == (LONG + len(response) - 1, 2, 2)
        assert response.routed_experts.dtype == np.uint8


def test_prompts_came_from_the_cache_and_responses_were_cut(answered: dict[str, Any]) -> None:
    assert answered["cached"][0] == 0
    assert min(answered["cached"][1:4]) >= 64
    assert sum(r.oldest_version != r.newest_version for r in answered["responses"]) > 0


def test_batches_are_as_large_as_offline_and_tokens_come_in_few_messages_but_count_as_they_are_made(answered: dict[str, Any]) -> None:
    assert answered["batch"] == (256, 4096)
    counts, made = answered["counts"], sum(map(len, answered["responses"]))
    assert counts["tokens"] == made
    assert len(answered["responses"]) <= counts["messages"] < made / 2
    assert counts["steps"] >= max(map(len, answered["responses"]))


def test_engine_and_learner_take_the_same_experts_and_so_replay_changes_nothing(captured_folder: Path, answered: dict[str, Any]) -> None:
    config = load(captured_folder / "config.toml", OVERRIDES)
    policy = load_policy(config)
    attach(policy, policy.routing, precise=True)
    responses = tuple(answered["responses"])
    group = Group(group_id=0, prompt=answered["prompt"], responses=responses, verdicts=tuple(Verdict(reward=1.0) for _ in responses))
    rows = [
        Row(group=0, member=i, advantage=0.0, weight=0.0, prompt_tokens=LONG, tokens=LONG + len(response))
        for i, response in enumerate(responses)
    ]
    batch = whole_batch(rows, [group], 0, captured=expert_shape(policy.language_model))
    assert batch.unrouted == 0
    assert batch.experts is not None
    recorder = Recorder(torch.uint8)
    with torch.no_grad():
        live, _ = policy(batch, None, (recorder,))
        replayed, _ = policy(batch, batch.experts)
    ours, theirs = (found.experts[batch.experts.known].sort(-1).values for found in (recorder.recording(batch.attention), batch.experts))
    # A gap between two experts may lie within the rounding of one kernel; rows that were shifted would agree in a third of all places.
    assert float((ours == theirs).all(-1).float().mean()) >= 0.999
    assert batch.engine_logprobs is not None
    for logprobs in (live, replayed):
        assert float((logprobs - batch.engine_logprobs)[batch.mask].abs().max()) <= 1e-4
