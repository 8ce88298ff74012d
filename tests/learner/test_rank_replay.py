"""Replay through the real learner: under every ZeRO stage and rank count, with the engine's experts and with the learner's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.loader import load
from configs.presets import PRESETS, Objective
from learner.experts.routers import attach
from learner.experts.routing import Recorder
from learner.model.policy import load_policy
from tests.conftest import RankResults
from tests.toys.moe import permuted
from tests.toys.one_batch import batch_loss, one_batch
from tests.toys.ranks import R2, R3, REPLAYS, recorded_groups

pytestmark = pytest.mark.end_to_end

Results = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Results:
    """Every row of REPLAYS, on one rank and on two."""
    found = ranks.of("replay")
    assert len(found) == 2 * len(REPLAYS)
    return found


def worst(left: list[Tensor], right: list[Tensor]) -> float:
    return max(float((ours - theirs).abs().max()) for ours, theirs in zip(left, right, strict=True))


def in_one_batch(folder: Path, shift: int) -> tuple[float, list[Tensor]]:
    """Loss and gradient of the update as one micro-batch, by autograd alone; the experts are the model's own, or shifted by one."""
    objective, policy = Objective(preset=PRESETS["grpo"]), load_policy(load(folder / "config.toml"))
    attach(policy, policy.routing, precise=True)
    batch = one_batch(recorded_groups(), objective)
    recorder = Recorder(torch.uint8)
    with torch.no_grad():
        policy(batch, None, (recorder,))
    replay = recorder.recording(batch.attention)
    logprobs, _ = policy(batch, permuted(replay, 4) if shift else replay)
    loss = batch_loss(objective, logprobs, batch)
    torch.autograd.backward(loss)
    return loss.item(), [p.grad if p.grad is not None else torch.zeros_like(p) for p in policy.parameters()]


def test_replaying_the_live_choice_is_not_replaying(results: Results) -> None:
    for (name, world), found in results.items():
        apart = worst(found["gradients"]["own"], found["gradients"]["live"])
        assert apart <= (0 if world == 1 else 1e-6), (name, world)
        assert found["stats"]["own"]["loss"] == pytest.approx(found["stats"]["live"]["loss"], abs=0 if world == 1 else 1e-6)
        assert found["stats"]["own"]["mismatch/kl"] == pytest.approx(found["stats"]["live"]["mismatch/kl"], rel=1e-9)


def test_replaying_other_experts_changes_log_probs_and_gradients_and_teaches_the_router(results: Results) -> None:
    for key, found in results.items():
        assert worst(found["gradients"]["other"], found["gradients"]["live"]) > 1e-3, key
        assert abs(found["stats"]["other"]["mismatch/kl"] - found["stats"]["live"]["mismatch/kl"]) > 1e-3, key
        routers = [g for n, g in zip(found["names"], found["gradients"]["other"], strict=True) if n.endswith("gate.weight")]
        assert len(routers) == 2
        assert min(float(gradient.abs().max()) for gradient in routers) > 1e-4, key


@pytest.mark.parametrize(("case", "shift"), [("own", 0), ("other", 1)])
def test_the_gradient_under_replay_is_that_of_one_big_batch(ranks: RankResults, results: Results, case: str, shift: int) -> None:
    loss, expected = in_one_batch(ranks.folder, shift)
    for key, found in results.items():
        assert found["stats"][case]["loss"] == pytest.approx(loss, abs=1e-6), key
        assert worst(found["gradients"][case], expected) <= 1e-6, key


def test_responses_without_experts_are_routed_live_or_masked_and_counted(results: Results) -> None:
    for key, found in results.items():
        stats = found["stats"]
        assert stats["own"]["routing/missing"] == 0, key
        assert stats["none"]["routing/missing"] == 15, "all that are learned"
        assert worst(found["gradients"]["none"], found["gradients"]["live"]) == 0, key
        assert (stats["torn, live"]["routing/missing"], stats["torn, mask"]["routing/missing"]) == (1, 1), key
        assert stats["torn, live"]["learned_tokens"] == stats["own"]["learned_tokens"], key
        assert stats["torn, mask"]["learned_tokens"] == stats["own"]["learned_tokens"] - found["torn tokens"], key


@pytest.mark.parametrize("routing", [R2, R3])
def test_the_second_update_of_a_policy_that_has_not_moved_has_a_ratio_of_exactly_one(results: Results, routing: str) -> None:
    """R3 replays in the pass of old log-probs too; R2 replays what that pass recorded."""
    for key, found in results.items():
        for label in ("plain", "kl in reward"):
            stats = found["stats"][routing, label]
            assert (stats["ratio/max_abs_log"], stats["ratio/mean"]) == (0.0, 1.0), (key, label)
        # The engine's log-probs of these groups are made up: the ratio to them is the mismatch, under the very same experts.
        assert found["stats"][routing, "engine"]["ratio/max_abs_log"] == pytest.approx(found["stats"][routing, "plain"]["mismatch/max"])


@pytest.mark.parametrize("label", ["plain", "engine"])
def test_the_second_update_takes_the_experts_of_the_steps_start_wherever_the_router_has_gone(results: Results, label: str) -> None:
    for key, found in results.items():
        calls, passes = found["first layer", label], found["passes"]
        count = int(found["stats"][R2, "plain"]["micro_batches"])
        second = len(calls) - passes * count  # micro-batches whose experts were recorded
        assert second > 0
        recorded, before, after = calls[:second], calls[second : -passes * second], calls[-passes * second :]
        assert all(known is None and torch.equal(live, taken) for live, taken, known in (*recorded, *before)), key
        for number, (_, taken, known) in enumerate(after):
            assert known is not None
            assert known.any()
            assert torch.equal(taken[known], recorded[number // passes][1][known]), (key, number)
        assert any(not torch.equal(live[known], taken[known]) for live, taken, known in after), "the router must move far"
