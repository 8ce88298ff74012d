"""Every recipe for GPUs passes vLLM's own checks for CUDA and DeepSpeed's, with the real config of its model. No GPU is needed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.memory.page import Recipe, recipes
from tests.toys.models import MODELS

pytestmark = pytest.mark.end_to_end
RECIPES = recipes(MODELS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What both libraries made of each recipe."""
    command = [sys.executable, "-m", "tests.toys.library_checks", str(tmp_path_factory.mktemp("models"))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stderr[-4000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.path.stem)
def test_vllm_takes_a_recipe_on_gpus_as_it_is_written(made: dict[str, Any], recipe: Recipe) -> None:
    vllm, engine = recipe.config.rollout.vllm, made[recipe.path.stem]["engine"]
    assert engine["device"] == "cuda"
    assert engine["graphs"] != "NONE"
    assert engine["architecture"] == recipe.model["architectures"][0]
    assert engine["batched"] == vllm.get("max_num_batched_tokens", engine["batched"])
    assert engine["sequences"] == vllm["max_num_seqs"]
    assert engine["context"] == recipe.config.context_tokens
    assert (engine["tensor"], engine["spread"]) == (vllm.get("tensor_parallel_size", 1), vllm.get("enable_expert_parallel", False))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.path.stem)
def test_deepspeed_takes_a_recipe_at_its_number_of_ranks(made: dict[str, Any], recipe: Recipe) -> None:
    offload = "offload_optimizer" in recipe.config.learner.zero
    assert made[recipe.path.stem]["learner"] == {"stage": recipe.config.learner.zero_stage, "bf16": True, "offload": offload}


def test_both_refuse_what_cannot_be(made: dict[str, Any]) -> None:
    assert "divisible by tensor parallel size (3)" in made["broken"]["engine"]
    assert "stage" in made["broken"]["learner"]
    assert "accepted" not in made["broken"]["learner"]
