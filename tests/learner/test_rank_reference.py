"""The reference policy under real DeepSpeed, sharded like the policy; and steps that lack log-probs, rewards or a finite KL."""

from typing import Any

import pytest
import torch

from tests.conftest import RankResults

pytestmark = pytest.mark.end_to_end

every_run = pytest.mark.parametrize("key", [("zero1", 1), ("zero3", 2), ("experts2", 2), ("experts3", 2)])
Results = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Results:
    """The reference's log-probs, and the metrics of steps that lacked something."""
    return ranks.of("reference")


@every_run
def test_the_reference_is_the_first_policy_until_it_is_renewed(results: Results, key: tuple[str, int]) -> None:
    (policy, reference), (moved, unmoved), (last, renewed), (loaded, restored) = results[key]["said"]
    assert torch.equal(policy, reference)
    assert torch.equal(unmoved, reference)
    assert (moved - policy).abs().max() > 1e-4
    assert torch.equal(renewed, last)
    assert not torch.equal(renewed, reference)
    assert torch.equal(loaded, last)
    assert torch.equal(restored, renewed), "a restart must bring back the renewed reference, not the initial one"


@every_run
def test_the_distance_to_the_reference_grows_from_nothing(results: Results, key: tuple[str, int]) -> None:
    first, second = results[key]["stats"]
    assert 0 < first["reference_kl"] < second["reference_kl"]


@every_run
def test_without_the_engines_log_probs_a_step_is_made_and_tells_no_mismatch(results: Results, key: tuple[str, int]) -> None:
    metrics = results[key]["lacking"]["logprobs"]
    assert not [name for name in metrics if name.startswith("mismatch")]
    assert metrics["updates_skipped"] == 0
    assert metrics["bad_logprobs"] == 0
    assert metrics["learned_tokens"] > 0


@every_run
def test_an_update_without_a_reward_is_not_made(results: Results, key: tuple[str, int]) -> None:
    metrics = results[key]["lacking"]["rewards"]
    assert (metrics["updates_empty"], metrics["updates_skipped"]) == (1, 0)
    assert metrics["responses_left_out"] >= 8


@every_run
def test_a_kl_that_is_not_finite_on_one_rank_drops_the_updates_on_all(results: Results, key: tuple[str, int]) -> None:
    assert results[key]["lacking"]["reference"]["updates_skipped"] == 2
