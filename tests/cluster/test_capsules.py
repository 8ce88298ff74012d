"""A capsule has what a step was learned from: computed again it gives the same numbers, and a number that was changed is found."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3MoeForCausalLM

from cluster.commands.replay import replay as command
from cluster.commands.replay.found import Check
from cluster.commands.replay.rewards import compare_with_the_plan
from cluster.record.capsules.files import read_tensors, write_tensors
from cluster.record.capsules.read import Capsule, NoCapsule, read_capsule
from tests.toys.capsules import episodes, learn, right_or_wrong
from tests.toys.model import tiny_config
from tests.toys.process_group import alone

REFERENCE = {"reference": "initial", "coefficient": 0.05}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "grpo": ({"objective": {"preset": "grpo"}}, "plain"),
    "dapo, two updates": ({"objective": {"preset": "dapo"}, "learner": {"updates_per_step": 2}}, "plain"),
    "gspo": ({"objective": {"preset": "gspo"}, "learner": {"updates_per_step": 2}}, "plain"),
    "cispo, packed": ({"objective": {"preset": "cispo"}, "learner": {"packing": True}}, "plain"),
    "two ranks": ({"objective": {"preset": "dr_grpo"}, "learner": {"ranks": 2}}, "plain"),
    "replay of the engine's experts": (
        {"objective": {"preset": "grpo"}, "rollout": {"capture_routing": True}, "learner": {"routing": "replay_rollout"}},
        "experts",
    ),
    "replay of its own experts": (
        {"objective": {"preset": "grpo"}, "learner": {"routing": "replay_learner", "updates_per_step": 2}},
        "plain",
    ),
    "a router shift": ({"objective": {"preset": "dapo", "router_shift": 0.8}, "learner": {"updates_per_step": 2}}, "plain"),
    "corrected": ({"objective": {"preset": "grpo"}, "correction": {"preset": "tis"}}, "plain"),
    "a KL in the loss": ({"objective": {"preset": "grpo"}, "kl": {**REFERENCE, "place": "loss"}}, "plain"),
    "a KL in the reward": ({"objective": {"preset": "rloo"}, "kl": {**REFERENCE, "place": "reward", "estimator": "k1"}}, "plain"),
    "an entropy bonus": ({"objective": {"preset": "grpo"}, "entropy": {"coefficient": 0.01}}, "plain"),
    "episodes": ({"objective": {"preset": "grpo"}}, "episodes"),
    "episodes, credit by turn": ({"objective": {"preset": "rloo", "credit": "turn"}}, "episodes"),
    "episodes, a KL in the reward of turns": (
        {"objective": {"preset": "rloo", "credit": "turn"}, "kl": {**REFERENCE, "place": "reward", "estimator": "k1"}},
        "episodes",
    ),
}


WITH_MODEL = ("dapo, two updates", "cispo, packed", "replay of the engine's experts", "replay of its own experts", "episodes")
# Arrays of which a number is changed, and the line of the replay that names it.
CHANGED = [
    ("grpo", "advantages", "advantages"),
    ("grpo", "row.advantage", "advantages"),
    ("grpo", "token_weights", "weights"),
    ("grpo", "row.weight", "weights"),
    ("grpo", "mask", "weights"),
    ("grpo", "logprobs", "ratios"),
    ("grpo", "old_logprobs", "ratios"),
    ("grpo", "ratios", "ratios"),
    ("grpo", "losses", "loss"),
    ("corrected", "engine_logprobs", "loss"),
    ("a KL in the loss", "reference_logprobs", "loss"),
    ("a KL in the reward", "measured_logprobs", "advantages"),
    ("an entropy bonus", "entropy", "loss"),
    ("a router shift", "log_shift", "ratios"),
    ("episodes, credit by turn", "by_turn", "advantages"),
    ("grpo", "token_ids", "log-probs"),
    ("grpo", "prompt_ids", "log-probs"),
    ("replay of the engine's experts", "experts", "log-probs"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


class Capsules:
    """The capsule of every case, made when it is first asked for."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.made: dict[str, Capsule] = {}

    def __getitem__(self, name: str) -> Capsule:
        if name not in self.made:
            sections, kind = CASES[name]
            groups = [episodes(seed) if kind == "episodes" else right_or_wrong(seed, experts=kind == "experts") for seed in (1, 2)]
            self.made[name] = learn(self.folder / str(len(self.made)), self.model, groups, **sections)
        return self.made[name]


@pytest.fixture(scope="module")
def capsules(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Capsules:
    return Capsules(model, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def rewards_as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards are scored again in a test of their own: that starts processes."""
    monkeypatch.setattr(command, "check_rewards", lambda capsule, config: Check("rewards", compared="no reward"))


@pytest.mark.parametrize("name", CASES)
def test_a_step_computed_again_from_its_capsule_is_the_same(name: str, capsules: Capsules, model: Path, rewards_as_recorded: None) -> None:
    found = command.replay(capsules[name].folder, model if name in WITH_MODEL else None)
    assert [line for check in found.checks for line in check.different] == []
    assert not found.differs
    assert len(found.capsule.rows) >= 6
    assert sum(float(np.abs(row.advantages).sum()) for row in found.capsule.rows) > 0
    loss = next(check for check in found.checks if check.name == "loss")
    assert loss.largest <= 1e-6


def test_a_capsule_has_what_its_objective_needs(capsules: Capsules) -> None:
    assert capsules["a KL in the loss"].rows[0].reference_logprobs is not None
    assert capsules["an entropy bonus"].rows[0].entropy is not None
    assert capsules["grpo"].rows[0].reference_logprobs is None
    replayed = capsules["replay of the engine's experts"].rows[0]
    assert replayed.experts is not None
    assert replayed.experts.shape == (len(replayed.prompt_ids) + len(replayed.token_ids), 2, 2)
    assert {row.rank for row in capsules["two ranks"].rows} == {0, 1}
    assert {row.update for row in capsules["gspo"].rows} == {0, 1}
    assert any(row.log_shift is not None and row.log_shift.any() for row in capsules["a router shift"].rows)
    whole = capsules["episodes"]
    assert any(row.segment for row in whole.rows)
    assert any(not row.sampled.all() for row in whole.rows)
    assert {len(row.by_turn) == len(row.spans) for row in capsules["episodes, credit by turn"].rows} == {True}
    group = capsules["grpo"].groups[0]
    assert (group.prompt["prompt"], group.prompt["reference"]) == ("one?", "1")
    assert [member.text for member in group.members or ()] == [str(int(reward or 0)) for reward in group.rewards]


@pytest.mark.parametrize(("name", "array", "line"), CHANGED)
def test_a_number_that_was_changed_is_found_and_named(
    name: str, array: str, line: str, capsules: Capsules, model: Path, tmp_path: Path, rewards_as_recorded: None
) -> None:
    folder = tmp_path / "capsule"
    shutil.copytree(capsules[name].folder, folder)
    path = folder / "rank_0.safetensors"
    arrays = read_tensors(path)
    flat = arrays[array].copy().reshape(-1)
    moved = np.flatnonzero(arrays["log_shift"] * arrays["mask"]) if array == "log_shift" else np.flatnonzero(arrays["mask"])
    place = moved[2] if len(flat) == len(arrays["mask"]) else 1 if len(flat) > 1 else 0
    flat[place] = not flat[place] if array == "mask" else (flat[place] + 1) % 4 if flat.dtype.kind in "iu" else flat[place] + 0.125
    write_tensors(path, arrays | {array: flat.reshape(arrays[array].shape)})
    found = command.replay(folder, model if line == "log-probs" else None)
    assert [one.name for one in found.capsule.damage] == [path.name]
    different = next(one.different for one in found.checks if one.name == line)
    assert different
    assert different[0].startswith(("group 11, response", "group 12, response", "rank 0, update"))


def test_a_reward_that_was_changed_in_the_plan_is_named(capsules: Capsules, tmp_path: Path) -> None:
    folder = tmp_path / "capsule"
    shutil.copytree(capsules["grpo"].folder, folder)
    groups = json.loads((folder / "groups.json").read_text())
    groups[0]["summary"]["rewards"][1] += 0.25
    (folder / "groups.json").write_text(json.dumps(groups))
    capsule = read_capsule(folder)
    (member,) = [one for one in capsule.groups[0].members or () if one.line["member"] == 1]
    check = Check("rewards")
    compare_with_the_plan(check, "group 11, response 1", capsule.groups[0].summary, member)
    assert check.different == ["group 11, response 1: reward in the plan: recorded 1, computed 1.25"]


def test_any_bit_that_is_flipped_anywhere_is_found(capsules: Capsules, tmp_path: Path, rewards_as_recorded: None) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "capsule"
    for name in ("capsule.json", "config.toml", "groups.json", "rank_0.safetensors"):
        for _ in range(8):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(capsules["grpo"].folder, folder)
            data = bytearray((folder / name).read_bytes())
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            (folder / name).write_bytes(data)
            assert finds_a_difference(folder), name


def finds_a_difference(folder: Path) -> bool:
    """Whether a replay says that something is wrong, in whatever way."""
    try:
        return command.replay(folder).differs
    except NoCapsule as error:
        return folder.name in str(error)
