"""Every family of configs/families.py: two steps with a real engine and a real learner, published with proof, exported, and read back."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from configs.families import FAMILIES, ROWS
from configs.toml_writer import write_toml
from tests.toys.drive import ROOT, driving, metrics, train
from tests.toys.families import write_family

pytestmark = pytest.mark.end_to_end

CLOSE = 1e-4  # nats, in float32
LEARNED = 1e-3
TIMEOUT_S = 400
PARTITIONED = ("mixtral", "glm4_moe")  # run under ZeRO-3, all others under ZeRO-1
each_family = pytest.mark.parametrize("family", FAMILIES)


def settings(folder: Path, family: str) -> dict[str, Any]:
    """A run of the family with everything that its row says it can do."""
    followed = FAMILIES[family].followed
    zero = {"stage": 3, "stage3_param_persistence_threshold": 0} if family in PARTITIONED else {"stage": 1}
    return {
        "run": {"dir": str(folder), "deadline_s": 120},
        "model": {"path": str(folder / "model"), "dtype": "float32"},
        "data": {"train": "unused.jsonl", "chat_template": False, "max_prompt_tokens": 16},
        "rollout": {
            "group_size": 4,
            "groups_per_step": 4,
            "max_response_tokens": 16,
            "capture_routing": followed,
            "vllm": {"enforce_eager": True},
        },
        "learner": {
            "lr": 1e-3,
            "micro_batch_tokens": 128,
            "packing": FAMILIES[family].packed,
            "routing": "replay_rollout" if followed else "live",
            "deepspeed": {"zero_optimization": zero},
        },
        "objective": {"preset": "grpo"},
        "reward": {"checker": "exact"},
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each family: its model, its run, what was found and the exported model."""
    folder = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        write_family(family, folder / family / "model")
        (folder / family / "config.toml").write_text(write_toml(settings(folder / family, family)))
    words = [sys.executable, "-m", "tests.toys.family_worker", str(folder), *FAMILIES]
    env = os.environ | {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    with (folder / "output.txt").open("w") as output:
        worker = subprocess.Popen(words, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)
        try:
            assert worker.wait(TIMEOUT_S) == 0, (folder / "output.txt").read_text()[-3000:]
        finally:
            os.killpg(worker.pid, signal.SIGKILL) if worker.poll() is None else None
    return folder


def found(runs: Path, family: str) -> dict[str, Any]:
    error = runs / family / "error.txt"
    assert not error.exists(), error.read_text()
    result: dict[str, Any] = pickle.loads((runs / family / "found.pickle").read_bytes())
    return result


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@each_family
def test_two_steps_are_learned_and_every_publish_is_proven(runs: Path, family: str) -> None:
    result = found(runs, family)
    assert [published.version for published in result["published"]] == [0, 1, 2]
    assert len({published.weights for published in result["published"]}) == 3
    for stats in result["stats"]:
        assert stats["grad_norm"] > 0
        assert stats["mismatch/max"] <= CLOSE, "engine and learner compute the same function of the same weights"
        if FAMILIES[family].followed:
            assert stats["routing/missing"] == 0
            assert stats["routing/tokens_differ"] == 0, "in float32 both take the same experts"


@each_family
def test_a_patched_engine_has_the_weights_of_the_learner_and_computes_with_them(runs: Path, family: str) -> None:
    """The first step's weights came as changes: the second step's mismatch, above, is that of an engine that was patched."""
    result = found(runs, family)
    identity, changes, whole = result["published"]
    assert identity.bytes == whole.bytes != changes.bytes
    assert [changes.weights, whole.weights] == result["true"], "digests that patches carry forward are those of the weights"


@each_family
def test_publishes_are_loaded_by_copies_that_a_proof_has_compared_with_vllms_reload(runs: Path, family: str) -> None:
    result = found(runs, family)
    assert result["reloaded"] == [""], "vLLM's own reload is slower"
    if said := result.get("proof"):
        assert said.pop("right") == ""
        assert [what for what, refusal in said.items() if "otherwise than vLLM" not in refusal] == []


@each_family
def test_the_export_has_the_names_types_and_shapes_of_the_familys_checkpoints(runs: Path, family: str) -> None:
    found(runs, family)
    first, exported = weights(runs / family / "model"), weights(runs / family / "exported")
    assert {name: (t.dtype, t.shape) for name, t in exported.items()} == {name: (t.dtype, t.shape) for name, t in first.items()}


@each_family
def test_the_export_says_in_transformers_what_the_engine_says(runs: Path, family: str) -> None:
    said = found(runs, family)["said"]
    model, report = AutoModelForCausalLM.from_pretrained(runs / family / "exported", output_loading_info=True)
    assert not any(report.values()), report
    first = AutoModelForCausalLM.from_pretrained(runs / family / "model")
    moved = 0.0
    for prompt, response in said:
        ids = torch.tensor([[*prompt.tolist(), *response.token_ids.tolist()]])
        with torch.no_grad():
            ours, before = (one(ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None]).squeeze(1) for one in (model, first))
        assert (ours[len(prompt) - 1 :] - torch.from_numpy(response.logprobs)).abs().max() <= CLOSE
        moved = max(moved, float((ours - before).abs().max()))
    assert moved > LEARNED, "what was exported must have learned"


@each_family
def test_a_checkpoint_brings_back_every_tensor(runs: Path, family: str) -> None:
    restored = found(runs, family)["restored"]
    assert restored
    assert all(restored)


@pytest.mark.parametrize("family", [row.model_type for row in ROWS if row.buffers])
def test_buffers_that_belong_to_the_weights_travel_in_their_own_type(runs: Path, family: str) -> None:
    result, first, exported = found(runs, family), weights(runs / family / "model"), weights(runs / family / "exported")
    names = [name for name in first if name.endswith(FAMILIES[family].buffers)]
    assert names
    assert all(f"{name} (never received) is incomplete" in result["without"] for name in names), result["without"]
    for name in names:
        assert not torch.equal(exported[name], first[name]), "the worker moved it before each publish"
        assert result["bfloat16"][name].dtype == torch.float32
        assert torch.equal(result["bfloat16"][name], first[name]), "a run in bfloat16 does not round it"


def test_a_whole_run_of_another_family_starts_from_the_config_alone(tmp_path: Path) -> None:
    """Mixtral, whose tensors have other names in transformers, in the engine and on disk."""
    model, run = tmp_path / "model", tmp_path / "run"
    write_family("mixtral", model)
    asked = (f"model.path={model}", "rollout.capture_routing=true", "learner.routing=replay_rollout", "run.eval_every=0", "run.steps=2")
    with driving(train(run, *asked), tmp_path) as driver:
        assert driver.wait() == 0, driver.text()[-4000:]
    rows = [row for row in metrics(run) if row["step"] > 0]
    assert [row["step"] for row in rows] == [1, 2]
    assert max(row["mismatch/max"] for row in rows) <= CLOSE
