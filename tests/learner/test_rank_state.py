"""A state that any number of ranks, any ZeRO stage and any spread of experts can read: bit for bit what was saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from learner.state.layout import read_counters, state_file
from tests.conftest import RankResults
from tests.toys.ranks import LOADED, SAVED
from tests.toys.state_worker import whole_state

pytestmark = pytest.mark.end_to_end

Results = dict[tuple[str, int], dict[str, Any]]
SAVERS = 2  # ranks
LOADS = pytest.mark.parametrize(("world", "load"), [(world, load) for world, load, _ in LOADED])


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Results:
    """What every rank that saves or loads a state found."""
    return ranks.of("state")


@pytest.fixture(scope="module")
def folder(ranks: RankResults) -> Path:
    return ranks.folder


def saver_of(load: str) -> str:
    return load.split(".")[0]


@LOADS
def test_masters_moments_and_reference_are_those_that_were_saved(results: Results, folder: Path, world: int, load: str) -> None:
    saved, again = whole_state(folder / f"state-{saver_of(load)}"), whole_state(folder / f"state-{load}-{world}-again")
    buffers = {"buffer"} if load.startswith("glm4") else set()
    assert {kind for kind, _ in saved} == {"weights", "exp_avg", "exp_avg_sq", "reference"} | buffers
    assert saved.keys() == again.keys()
    assert [key for key, numbers in saved.items() if not torch.equal(numbers, again[key])] == []


@LOADS
def test_a_loaded_policy_is_the_saved_one_and_goes_on_like_it(results: Results, world: int, load: str) -> None:
    loaded, saved = results[load, world], results[f"{saver_of(load)}.saved", SAVERS]
    assert loaded["counted"] == saved["counted"] == (1, 2, 0)
    assert [name for name, weight in saved["weights"].items() if not torch.equal(weight, loaded["weights"][name])] == []
    assert torch.equal(loaded["random"], saved["random"])
    for here, there in zip(loaded["said"], saved["said"], strict=True):
        torch.testing.assert_close(here, there, atol=0.05 if "half" in load else 1e-5, rtol=0)
    assert loaded["next"]["loss"] == pytest.approx(saved["next"]["loss"], abs=1e-5 if "half" not in load else 1e-3)
    if "half" not in load:  # bfloat16 passes round otherwise when a batch is divided otherwise
        for name, weight in saved["after"].items():
            torch.testing.assert_close(loaded["after"][name], weight, atol=2e-6, rtol=0)


@pytest.mark.parametrize("saver", SAVED)
def test_the_same_ranks_go_on_bit_for_bit(results: Results, saver: str) -> None:
    loaded, saved = results[f"{saver}.same", SAVERS], results[f"{saver}.saved", SAVERS]
    timeless = [name for name in saved["next"] if not name.startswith("seconds/")]
    assert [loaded["next"][name] for name in timeless] == pytest.approx([saved["next"][name] for name in timeless], abs=0, nan_ok=True)
    assert [name for name, weight in saved["after"].items() if not torch.equal(weight, loaded["after"][name])] == []


@pytest.mark.parametrize("saver", SAVED)
def test_a_saved_state_is_what_training_holds_by_other_accounts(results: Results, folder: Path, saver: str) -> None:
    """Weights as a publish sends them, and moments as DeepSpeed gathers them."""
    saved, held = results[f"{saver}.saved", SAVERS], whole_state(folder / f"state-{saver}")
    for name, weight in saved["weights"].items():
        master = held["weights", name].view(weight.shape)
        used = master.to(torch.bfloat16).to(weight.dtype) if saver == "half3" else master
        assert torch.equal(used, weight), name
    for name, moment in saved["moments"].items():
        assert torch.equal(held["exp_avg", name].view(moment.shape), moment), name
    assert saved["moments"] or not saver.endswith("3")


@pytest.mark.parametrize("saver", SAVED)
def test_every_rank_writes_a_part_and_none_writes_anothers(results: Results, folder: Path, saver: str) -> None:
    """Safetensors' own reader reads the files; together they have every number once."""
    state = folder / f"state-{saver}"
    counters = read_counters(state)
    assert [one["ranks"] for one in counters] == [SAVERS] * SAVERS
    bytes_of, seen = [], 0
    for rank in range(SAVERS):
        path = state / state_file(rank)
        bytes_of.append(path.stat().st_size)
        with safe_open(path, framework="pt") as reader:
            seen += sum(reader.get_tensor(key).numel() for key in reader.keys() if not key.startswith("random:"))  # noqa: SIM118
    assert seen == sum(numbers.numel() for numbers in whole_state(state).values())
    assert max(bytes_of) < 1.2 * min(bytes_of), "ranks share the writing"


def test_a_rank_reads_only_the_files_and_ranges_that_it_holds(results: Results, folder: Path) -> None:
    """Four ranks with a quarter of the experts each: what they save again is as large as what they read."""
    state = folder / "state-spread2.spread4-4-again"
    sizes = [(state / state_file(rank)).stat().st_size for rank in range(4)]
    assert max(sizes) < 1.2 * min(sizes)
