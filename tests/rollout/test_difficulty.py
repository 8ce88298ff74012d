"""The difficulty-aware stream: whom it prefers, that it forgets, that nobody starves, and that it goes on as if never left."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.window.difficulty import DifficultyStream
from rollout.window.window import GroupWindow

SIZES, SEEDS = st.integers(1, 12), st.integers(0, 2**63 - 1)
FLOORS, HALF_LIVES = st.floats(0.05, 1.0), st.floats(0.05, 50.0)
G = 4
Chance = Callable[[int, int], float]  # of a right response, by prompt and group


def stream_of(size: int = 10, seed: int = 0, floor: float = 0.1, half_life: float = 2.0) -> DifficultyStream:
    return DifficultyStream(size, seed, floor=floor, half_life=half_life)


def answers(prompt: int, group_id: int, chance: Chance) -> np.ndarray:
    """Always the same for a group, as responses are whose seeds follow from the group."""
    return (np.random.default_rng([prompt, group_id]).random(G) < chance(prompt, group_id)).astype(float)


def walk(stream: DifficultyStream, count: int, chance: Chance, *, per_step: int = 5) -> list[int]:
    """The prompts of the next `count` groups, each step's observed at its end."""
    start, prompts = stream.drawn, []
    for group_id in range(start, start + count):
        prompts.append(stream.index(group_id))
        stream.observe(group_id, answers(prompts[-1], group_id, chance))
        if (group_id + 1) % per_step == 0:
            stream.end_step()
    return prompts


def half_of_the_time(prompt: int, group_id: int) -> float:
    return 0.5


def longest_wait(prompts: list[int], size: int) -> int:
    last = dict.fromkeys(range(size), -1)
    waits = []
    for place, prompt in enumerate(prompts):
        waits.append(place - last[prompt])
        last[prompt] = place
    return max(waits + [len(prompts) - place for place in last.values()])


@settings(max_examples=30, deadline=None)
@given(size=SIZES, seed=SEEDS, floor=FLOORS, half_life=HALF_LIVES, per_step=st.integers(1, 30), data=st.data())
def test_no_prompt_waits_longer_than_the_bound_whatever_the_policy_does(size, seed, floor, half_life, per_step, data):
    bound = 2 * size * (1 + 1 / floor)
    moods = data.draw(st.lists(st.sampled_from([0.0, 0.02, 0.5, 1.0]), min_size=size, max_size=size))
    turn = data.draw(st.integers(1, 200))
    prompts = walk(stream_of(size, seed, floor, half_life), int(3 * bound), lambda p, g: moods[(p + g // turn) % size], per_step=per_step)
    assert longest_wait(prompts, size) <= bound


@given(size=SIZES, seed=SEEDS)
def test_with_equal_weights_every_epoch_is_a_shuffle_of_all_prompts(size, seed):
    prompts = walk(stream_of(size, seed, floor=1.0), 6 * size, lambda p, g: p % 2)
    assert all(sorted(prompts[start : start + size]) == list(range(size)) for start in range(0, 6 * size, size))


def test_equal_weights_do_not_repeat_the_order_of_an_epoch():
    prompts = walk(stream_of(30, floor=1.0), 10 * 30, half_of_the_time)
    assert len({tuple(prompts[start : start + 30]) for start in range(0, 300, 30)}) == 10


@pytest.mark.parametrize("seed", range(5))
def test_prompts_that_are_always_or_never_solved_come_up_less_often_than_half_solved_ones(seed: int):
    counts = Counter(walk(stream_of(30, seed), 3000, lambda p, g: (0.0, 0.5, 1.0)[p % 3]))
    never, half, always = ([counts[p] for p in range(30) if p % 3 == kind] for kind in range(3))
    assert 2 * max(never + always) < min(half)
    assert min(never + always) > 0


def test_every_prompt_is_tried_before_many_are_tried_often():
    prompts = walk(stream_of(200), 300, lambda p, g: p % 2)
    assert set(prompts) == set(range(200))


def test_a_prompt_that_becomes_solvable_is_found_and_then_comes_up_as_often_as_any():
    stream = stream_of(20, half_life=2.0)
    counts = Counter(walk(stream, 2000, lambda p, g: 0.0 if p == 3 else 0.5))
    assert counts[3] < 60
    walk(stream, 400, half_of_the_time)
    assert 80 <= Counter(walk(stream, 2000, half_of_the_time))[3] <= 120


def test_what_was_seen_of_a_prompt_counts_half_after_the_half_life_and_nothing_in_the_end():
    stream = stream_of(10, half_life=3.0)
    prompt = stream.index(0)
    stream.observe(0, np.ones(8))
    stream.end_step()
    assert stream.weight[prompt] < 0.3
    assert stream.weight.max() > 0.5
    weights = []
    for group_id in range(1, 2000):
        stream.index(group_id)  # nobody answers, so nothing new is learned
        stream.end_step()
        weights.append(stream.weight[prompt])
    kept = 8 * 2 ** -(30 / 30)
    assert weights[28] == pytest.approx(0.1 + 0.9 * 4 * 0.5 * (0.5 + kept) / ((1 + kept) * (2 + kept)))
    assert weights[:80] == sorted(weights[:80])
    assert weights[-1] == pytest.approx(0.1 + 0.9 * 0.5), "as of a prompt that was never seen"


@given(right=st.integers(0, 40), wrong=st.integers(0, 40), floor=FLOORS)
def test_the_weight_is_the_expected_spread_of_the_rewards_over_the_floor(right: int, wrong: int, floor: float):
    stream = stream_of(1, floor=floor, half_life=1e9)
    stream.index(0)
    stream.observe(0, np.array([1.0] * right + [0.0] * wrong))
    stream.end_step()
    # p = sin² x, which turns the prior's poles at 0 and 1 into a plain 2 dx.
    p = np.sin((np.arange(20_000) + 0.5) / 20_000 * np.pi / 2) ** 2
    density = p**right * (1 - p) ** wrong
    assert stream.weight[0] == pytest.approx(floor + (1 - floor) * (density * 4 * p * (1 - p)).sum() / density.sum(), rel=1e-4)


def test_a_failed_verdict_is_no_evidence_and_a_graded_one_counts_by_its_share():
    stream = stream_of(3, half_life=1e9)
    first, second = stream.index(0), stream.index(1)
    stream.observe(0, np.array([np.nan, np.nan]))
    stream.observe(1, np.array([0.25, np.nan, 7.0, -1.0]))
    assert (stream.right[first], stream.wrong[first], stream.as_of[first]) == (0, 0, -1)
    assert (stream.right[second], stream.wrong[second], stream.as_of[second]) == (1.25, 1.75, 1)


def test_the_order_in_which_a_prompts_groups_are_observed_does_not_matter():
    believed = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        stream = stream_of(1, half_life=2.0)
        asked = [stream.index(group_id) for group_id in range(3)]
        for group_id in order:
            stream.observe(group_id, np.array([1.0] * group_id + [0.0]))
        assert asked == [0, 0, 0]
        stream.end_step()
        believed.append(stream.weight[0])
    assert believed == pytest.approx([believed[0]] * 3)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=SEEDS, cut=st.integers(0, 80), pending=st.integers(0, 7))
def test_a_stream_taken_up_from_its_state_goes_on_bitwise_and_pending_groups_keep_their_prompts(size, seed, cut, pending):
    def chance(prompt: int, group_id: int) -> float:
        return prompt / size

    straight = stream_of(size, seed)
    walk(straight, cut, chance)
    asked = [straight.index(group_id) for group_id in range(cut, cut + pending)]
    resumed = stream_of(size, seed)
    resumed.load(straight.state())
    assert [resumed.index(group_id) for group_id in range(cut, cut + pending)] == asked
    for stream in (straight, resumed):
        for group_id, prompt in zip(range(cut, cut + pending), asked, strict=True):
            stream.observe(group_id, answers(prompt, group_id, chance))
    assert straight.end_step() == resumed.end_step()
    assert walk(straight, 60, chance) == walk(resumed, 60, chance)
    here, there = straight.state(), resumed.state()
    assert {name: array.tobytes() for name, array in here.items()} == {name: array.tobytes() for name, array in there.items()}


def test_a_saved_state_does_not_change_when_its_stream_goes_on():
    stream = stream_of()
    walk(stream, 20, half_of_the_time)
    state = stream.state()
    before = {name: array.tobytes() for name, array in state.items()}
    expected = walk(stream, 50, half_of_the_time)
    assert {name: array.tobytes() for name, array in state.items()} == before
    for _ in range(2):
        resumed = stream_of()
        resumed.load(state)
        assert walk(resumed, 50, half_of_the_time) == expected


def test_a_group_asked_for_late_or_twice_has_the_prompt_it_would_have_had():
    early, late = stream_of(), stream_of()
    prompts = [early.index(group_id) for group_id in range(8)]
    assert [late.index(group_id) for group_id in (7, 2, 0, 7)] == [prompts[group_id] for group_id in (7, 2, 0, 7)]


def test_what_is_observed_decides_nothing_before_the_step_ends():
    quiet, told = stream_of(), stream_of()
    for group_id in range(40):
        assert told.index(group_id) == quiet.index(group_id)
        told.observe(group_id, np.ones(8))


def test_a_settled_group_is_not_handed_out_again():
    stream = stream_of()
    stream.index(0)
    stream.observe(0, np.ones(2))
    with pytest.raises(ValueError, match="group 0 is settled"):
        stream.index(0)


@pytest.mark.parametrize("state", [{}, stream_of(9).state(), {"due": np.zeros(10)}])
def test_a_state_of_another_stream_or_other_data_is_refused(state: dict[str, np.ndarray]):
    with pytest.raises(ValueError, match=r'these 10 prompts: data\.sampler = "difficulty" continues only'):
        stream_of(10).load(state)


@pytest.mark.parametrize("floor", [0.0, -1.0, 1.5])
def test_a_floor_that_is_no_share_is_refused(floor: float):
    with pytest.raises(ValueError, match=r"data\.difficulty_floor got .* needed a share"):
        stream_of(floor=floor)


def test_the_metrics_say_what_is_believed_of_the_prompts():
    stream = stream_of(4, half_life=1e9)
    assert stream.end_step() == pytest.approx(
        {"sampler/seen": 0, "sampler/weight": 0.55, "sampler/effective": 4, "sampler/solved": 0, "sampler/hopeless": 0}
    )
    for group_id in range(3):
        stream.index(group_id)
        stream.observe(group_id, np.full(98, (0.0, 0.5, 1.0)[group_id]))
    values = stream.end_step()
    assert (values["sampler/seen"], values["sampler/solved"], values["sampler/hopeless"]) == (0.75, 0.25, 0.25)
    assert 2 < values["sampler/effective"] < 3
    assert values["sampler/weight"] == pytest.approx(stream.weight.mean())


class Run:
    """A run without staleness whose groups take a random time: what it learns must not depend on that time."""

    def __init__(self, timing: int) -> None:
        self.random = random.Random(timing)
        self.stream = stream_of(17, seed=4)
        self.settled: list[tuple[int, int, int]] = []  # step, group, prompt
        self.saved: dict[int, tuple[int, list[int], dict[str, np.ndarray]]] = {}  # by step: next group, pending, stream
        self.step = 0

    async def submit(self, group_id: int) -> tuple[int, int, np.ndarray]:
        prompt = self.stream.index(group_id)
        for _ in range(self.random.choice([0, 1, 3, 20])):
            await asyncio.sleep(0)
        return group_id, prompt, answers(prompt, group_id, lambda p, g: p / 16)

    def settle(self, group: tuple[int, int, np.ndarray]) -> None:
        self.settled.append((self.step, *group[:2]))
        self.stream.observe(group[0], group[2])

    async def go(self, steps: range, next_group: int = 0, pending: list[int] | None = None) -> "Run":
        async with asyncio.TaskGroup() as tasks:
            window = GroupWindow(
                tasks,
                size=4,
                submit=self.submit,
                keep=lambda group: 0 < group[2].mean() < 1,
                on_reject=self.settle,
                next_group=next_group,
                pending=pending or [],
                max_rejected=1000,
            )
            filling = tasks.create_task(window.keep_full())
            for self.step in steps:
                for group in await window.take(4):
                    self.settle(group)
                self.stream.end_step()
                await window.release(4)
                for _ in range(self.random.choice([0, 1, 2, 5, 30])):  # evaluating and saving: the next groups are being generated
                    await asyncio.sleep(0)
                self.saved[self.step] = (window.next_group, window.pending, self.stream.state())
            filling.cancel()
            window.cancel()
        return self


def test_which_prompts_a_run_learns_depends_neither_on_timing_nor_on_being_killed_and_resumed():
    straight = asyncio.run(Run(0).go(range(1, 25)))
    assert any(len(pending) > 4 for _, pending, _ in straight.saved.values()), "some checkpoint must hold rejected groups still in flight"
    for timing in range(1, 25):
        assert asyncio.run(Run(timing).go(range(1, 25))).settled == straight.settled
        resumed = Run(timing)
        next_group, pending, state = straight.saved[timing - 1] if timing > 1 else (0, [], resumed.stream.state())
        resumed.stream.load(state)
        asyncio.run(resumed.go(range(timing, 25), next_group, pending))
        assert resumed.settled == [row for row in straight.settled if row[0] >= timing]
