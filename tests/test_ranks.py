"""The learner under real DeepSpeed: whatever the ranks and the ZeRO stage, the same update, the same weights, the same files."""

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3MoeForCausalLM

from rollout.types import Finish, Group, Prompt, Response, Verdict
from tests.toys import tiny_config, toy_tokenizer

pytestmark = pytest.mark.end_to_end

STAGES = [(f"zero{stage}", [f"learner.deepspeed.zero_optimization.stage={stage}"]) for stage in (0, 1, 2, 3)]
POISONED = [(f"poisoned{stage}", [f"learner.deepspeed.zero_optimization.stage={stage}"]) for stage in (0, 2, 3)]
# Twelve tokens a micro-batch force several of them, and none for the rank that got less.
SMALL = ("small", ["learner.deepspeed.zero_optimization.stage=3", "learner.micro_batch_tokens=24", "learner.head_chunk_tokens=8"])

CONFIG = """
[model]
path = "{model}"
dtype = "float32"
[data]
train = "unused.jsonl"
max_prompt_tokens = 8
[rollout]
group_size = 4
groups_per_step = 4
max_response_tokens = 8
[learner]
lr = 1e-4
updates_per_step = 2
micro_batch_tokens = 64
[objective]
preset = "{preset}"
"""


def recorded_groups() -> list[Group]:
    """Four groups of four uneven responses, one of them failed."""
    rng = np.random.default_rng(7)

    def response() -> Response:
        tokens = rng.integers(4, 32, rng.integers(1, 9)).astype(np.int32)
        return Response(
            token_ids=tokens,
            logprobs=-rng.exponential(3.0, len(tokens)).astype(np.float32),
            finish=Finish.STOP,
            oldest_version=0,
            newest_version=0,
            text="",
        )

    def verdict(place: int) -> Verdict:
        return Verdict(reward=None, failure="timeout") if place == 5 else Verdict(reward=float(rng.integers(0, 2)))

    return [
        Group(
            group_id=g,
            prompt=Prompt(prompt_id=str(g), token_ids=rng.integers(4, 32, 2 + g).astype(np.int32), reference="", checker="exact"),
            responses=tuple(response() for _ in range(4)),
            verdicts=tuple(verdict(4 * g + m) for m in range(4)),
        )
        for g in range(4)
    ]


def run_ranks(folder: Path, world: int, runs: list[tuple[str, list[str]]]) -> dict[str, dict[str, Any]]:
    def start(rank: int, port: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.rank_worker", str(rank), str(world), str(port), str(folder), json.dumps(runs)]
        return subprocess.Popen(
            words, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, stderr=(folder / f"rank-{world}-{rank}.log").open("w")
        )

    ranks = [start(0, 0)]
    try:
        met, deadline = folder / f"port-{world}", time.monotonic() + 120
        while not met.exists():
            assert ranks[0].poll() is None, "rank 0 died before it could be met"
            assert time.monotonic() < deadline, "rank 0 never offered a port"
            time.sleep(0.1)
        ranks += [start(rank, int(met.read_text())) for rank in range(1, world)]
        assert [rank.wait(timeout=300) for rank in ranks] == [0] * world
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return {name: torch.load(folder / f"{name}-{world}.pt") for name, _ in runs}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict[str, Any]]:
    """Every stage on one rank and on two, from the same model and the same groups."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(folder / "model")
    toy_tokenizer().save_pretrained(folder / "model")
    (folder / "config.toml").write_text(CONFIG.format(model=folder / "model", preset="dapo"))
    (folder / "groups.pickle").write_bytes(pickle.dumps(recorded_groups()))
    one = run_ranks(folder, 1, STAGES[:2])
    two = run_ranks(folder, 2, [*STAGES[1:], SMALL, *POISONED])
    return {(name, 1): result for name, result in one.items()} | {(name, 2): result for name, result in two.items()}


def test_every_zero_stage_and_rank_count_makes_the_same_update(results: dict[tuple[str, int], dict[str, Any]]) -> None:
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


def test_every_parameter_moves_in_the_first_step(results: dict[tuple[str, int], dict[str, Any]]) -> None:
    result = results["zero3", 2]
    still = [name for name, before in result["before"].items() if torch.equal(before, result["weights"][name])]
    assert still == []


def test_the_source_yields_the_checkpoint_byte_for_byte_under_every_stage(results: dict[tuple[str, int], dict[str, Any]]) -> None:
    proofs = [result["proofs"]["before"] for result in results.values()]
    assert all(proof == proofs[0] for proof in proofs)
    assert len(proofs[0]) == len(results["zero0", 1]["before"])


def test_a_saved_learner_loads_with_the_same_weights_and_count(results: dict[tuple[str, int], dict[str, Any]]) -> None:
    for key, result in results.items():
        assert result["proofs"]["loaded"] == result["proofs"]["after"], key
        assert result["updates_done"] == 2, key


def test_small_micro_batches_leave_a_rank_idle_and_change_nothing(results: dict[tuple[str, int], dict[str, Any]]) -> None:
    assert results["small", 2]["stats"]["micro_batches"] > results["zero3", 2]["stats"]["micro_batches"]


@pytest.mark.parametrize("name", [name for name, _ in POISONED])
def test_a_gradient_that_is_not_finite_on_one_rank_is_dropped_on_all(results: dict[tuple[str, int], dict[str, Any]], name: str) -> None:
    result = results[name, 2]
    assert result["stats"]["updates_skipped"] == 2
    assert result["proofs"]["after"] == result["proofs"]["before"]
