"""The prompt stream and the seeds: every position follows from its numbers alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.sections.data import DataConfig
from rollout.seeds import derive_seed
from rollout.window.difficulty import DifficultyStream
from rollout.window.order import open_stream
from rollout.window.stream import PromptStream

SIZES = st.integers(1, 60)
SEEDS = st.integers(0, 2**63 - 1)
GOLDEN_ORDER = [2, 4, 3, 6, 5, 0, 1, 7, 1, 3, 7, 6, 0, 4, 2, 5]
GOLDEN_SEED = 4394891952965353695


@given(size=SIZES, seed=SEEDS, epoch=st.integers(0, 10**6))
def test_every_epoch_covers_every_prompt_exactly_once(size: int, seed: int, epoch: int) -> None:
    stream = PromptStream(size, seed)
    start = epoch * size
    assert sorted(stream.index(g) for g in range(start, start + size)) == list(range(size))
    assert {stream.epoch(g) for g in range(start, start + size)} == {epoch}


@given(size=SIZES, seed=SEEDS, asked=st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_a_prompt_does_not_depend_on_what_was_asked_before(size: int, seed: int, asked: list[int]) -> None:
    stream = PromptStream(size, seed)
    assert [stream.index(g) for g in asked] == [PromptStream(size, seed).index(g) for g in asked]


def test_a_stream_taken_up_at_any_group_goes_on_as_if_never_left() -> None:
    straight = PromptStream(7, seed=3)
    order = [straight.index(g) for g in range(30)]
    for cut in range(30):
        resumed = PromptStream(7, seed=3)
        assert [resumed.index(g) for g in range(cut, 30)] == order[cut:]


def test_epochs_and_seeds_shuffle_differently() -> None:
    orders = {tuple(PromptStream(50, seed).index(g) for g in range(e * 50, e * 50 + 50)) for seed in range(5) for e in range(5)}
    assert len(orders) == 25


def test_the_order_is_the_one_that_older_checkpoints_went_by() -> None:
    stream = PromptStream(8, seed=0)
    assert [stream.index(g) for g in range(16)] == GOLDEN_ORDER


def test_nothing_that_the_policy_does_moves_the_uniform_stream_and_it_leaves_nothing_to_be_saved() -> None:
    stream, undisturbed = PromptStream(7, seed=3), PromptStream(7, seed=3)
    for group_id in range(30):
        assert stream.index(group_id) == undisturbed.index(group_id)
        stream.observe(group_id, np.array([1.0, 0.0, np.nan]))
        assert stream.end_step() == {}
        assert stream.state() == {}
        stream.load({})


def test_the_uniform_stream_is_the_one_that_a_config_gets_which_does_not_ask() -> None:
    uniform = open_stream(DataConfig(train="train.jsonl"), {"": 8}, 0)
    assert isinstance(uniform, PromptStream)
    assert [uniform.index(g) for g in range(16)] == GOLDEN_ORDER
    asked = DataConfig(train="train.jsonl", sampler="difficulty", difficulty_floor=0.25, difficulty_half_life=3.0)
    difficulty = open_stream(asked, {"": 8}, 5)
    assert isinstance(difficulty, DifficultyStream)
    assert (difficulty.size, difficulty.seed, difficulty.floor, difficulty.half_life) == (8, 5, 0.25, 3.0)


def test_a_stream_without_prompts_and_a_negative_group_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.train"):
        PromptStream(0, seed=0)
    with pytest.raises(ValueError, match="count from 0"):
        PromptStream(3, seed=0).index(-1)


def test_two_hundred_thousand_members_of_groups_have_seeds_of_their_own() -> None:
    assert len({derive_seed(0, group, member, 0) for group in range(12_500) for member in range(16)}) == 200_000


@given(parts=st.lists(st.integers(-(2**70), 2**70), max_size=5))
def test_a_seed_fits_what_vllm_takes(parts: list[int]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


@given(parts=st.lists(st.integers(0, 99), min_size=1, max_size=4), other=st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_seeds_agree_only_where_all_parts_do(parts: list[int], other: list[int]) -> None:
    assert (derive_seed(*parts) == derive_seed(*other)) == (parts == other)


def test_a_seed_is_the_same_in_every_process() -> None:
    program = "from rollout.seeds import derive_seed; print(derive_seed(0, 12, 3, 1))"
    root = Path(__file__).parents[2]
    for hashes in ("1", "2"):
        environment = {"PYTHONHASHSEED": hashes}
        other = subprocess.run([sys.executable, "-c", program], env=environment, cwd=root, check=True, capture_output=True)
        assert int(other.stdout) == GOLDEN_SEED
    assert derive_seed(0, 12, 3, 1) == GOLDEN_SEED
