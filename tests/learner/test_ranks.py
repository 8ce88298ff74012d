"""The learner under real DeepSpeed: for any ranks and ZeRO stage the same update, the same weights, the same files."""

from typing import Any

import pytest
import torch

from tests.conftest import RankResults

pytestmark = pytest.mark.end_to_end

Results = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Results:
    """Every stage on one rank and on two."""
    return ranks.of("learn")


def test_every_zero_stage_and_rank_count_makes_the_same_update(results: Results) -> None:
    reference = results["zero0", 1]
    moved = max(float((reference["weights"][name] - before).abs().max()) for name, before in reference["before"].items())
    assert moved > 1e-4, "the update must be large beside the tolerance"
    for key, result in results.items():
        if key[0].startswith("poisoned"):
            continue
        assert result["stats"]["loss"] == pytest.approx(reference["stats"]["loss"], abs=1e-5), key
        assert result["stats"]["grad_norm"] == pytest.approx(reference["stats"]["grad_norm"], rel=1e-4), key
        for name, weight in reference["weights"].items():
            torch.testing.assert_close(result["weights"][name], weight, atol=1e-5, rtol=0, msg=lambda text, at=(key, name): f"{at}: {text}")


def test_every_parameter_moves_in_the_first_step(results: Results) -> None:
    result = results["zero3", 2]
    still = [name for name, before in result["before"].items() if torch.equal(before, result["weights"][name])]
    assert still == []


def test_the_source_yields_the_checkpoint_byte_for_byte_under_every_stage(results: Results) -> None:
    proofs = [result["proofs"]["before"] for result in results.values()]
    assert all(proof == proofs[0] for proof in proofs)
    assert len(proofs[0]) == len(results["zero0", 1]["before"])


def test_a_saved_learner_loads_with_the_same_weights_and_count(results: Results) -> None:
    for key, result in results.items():
        assert result["proofs"]["loaded"] == result["proofs"]["after"], key
        assert result["updates_done"] == 2, key


def test_a_resumed_learner_uses_the_settings_of_its_own_config(results: Results) -> None:
    """DeepSpeed loads those of the run that saved the checkpoint."""
    for key, result in results.items():
        changed = result["changed"]
        assert changed["lr"] == 3e-3, key
        assert all((group["lr"], tuple(group["betas"]), group["weight_decay"]) == (3e-3, (0.5, 0.6), 0.25) for group in changed["used"]), (
            key
        )
        assert changed["clip"] in (None, 0.125), key
        if not key[0].startswith("poisoned"):
            assert changed["kept"] > 0, "the moments come with the weights"
            assert 1e-3 < changed["moved"] < 2e-2, "an update of AdamW moves a weight by about the learning rate"


def test_a_learner_that_takes_weights_alone_begins_with_no_moments(results: Results) -> None:
    assert {result["changed"]["left"] for result in results.values()} == {0.0}


def test_small_micro_batches_leave_a_rank_idle_and_change_nothing(results: Results) -> None:
    assert results["small", 2]["stats"]["micro_batches"] > results["zero3", 2]["stats"]["micro_batches"]


@pytest.mark.parametrize("name", ["poisoned0", "poisoned2", "poisoned3"])
def test_a_gradient_that_is_not_finite_on_one_rank_is_dropped_on_all(results: Results, name: str) -> None:
    result = results[name, 2]
    assert result["stats"]["updates_skipped"] == 2
    assert result["proofs"]["after"] == result["proofs"]["before"]


@pytest.mark.parametrize("name", ["poisoned0", "poisoned2", "poisoned3"])
def test_an_update_that_spikes_is_dropped_on_all_ranks_before_the_optimizer_moves(results: Results, name: str) -> None:
    result = results[name, 2]
    (stats, proof, steps), (usual, moved, counted) = result["spiking"]["spikes"], result["spiking"]["usual"]
    assert (stats["updates_spiked"], stats["updates_skipped"]) == (2, 5), "three were not finite"
    assert stats["grad_norm"] > 0, "the norm of a spike is known"
    assert proof == result["proofs"]["before"]
    assert (usual["updates_spiked"], usual["updates_skipped"]) == (0, 5)
    assert moved != proof
    assert [now - before for before, now in zip(steps, counted, strict=True)] == [2]


def test_an_update_whose_advantages_are_all_0_leaves_every_bit_as_it_was(results: Results) -> None:
    for key, result in results.items():
        assert result["alike"]["updates_without_signal"] == 2, key
        assert (result["alike"]["grad_norm"], result["alike"]["updates_empty"]) == (0, 0), key
        assert result["alike"]["entropy"] > 0, "its passes are made all the same, for their metrics"
        assert result["proofs"]["alike"] == result["proofs"]["after"], key


def test_each_update_of_a_step_is_judged_by_itself_and_one_that_is_not_made_does_not_count(results: Results) -> None:
    for key, result in results.items():
        if key[0].startswith("poisoned"):
            continue
        assert (result["stats"]["updates_without_signal"], result["half"]["updates_without_signal"]) == (0, 1), key
        assert result["done"] == (2, 3), key
        assert result["proofs"]["half"] != result["proofs"]["alike"], key
