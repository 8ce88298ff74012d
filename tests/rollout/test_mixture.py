"""Every source gets its share of the groups, has an order and epochs of its own, and continues exactly where it stood."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.sections.data import DataConfig
from rollout.window.order import open_stream, shares_of
from rollout.window.stream import PromptStream, Stream

SIZES = {"gsm8k": 10, "math": 4}


def data(sampler: str = "uniform", **shares: float | None) -> DataConfig:
    sources = {name: {"path": f"{name}.jsonl", "share": share} for name, share in shares.items()}
    return DataConfig.model_validate({"sources": sources, "sampler": sampler})


def mix(sampler: str = "uniform", seed: int = 0, **shares: float | None) -> Stream:
    return open_stream(data(sampler, **(shares or {"gsm8k": 0.7, "math": 0.3})), SIZES, seed)


def source_of(prompt: int) -> str:
    return "gsm8k" if prompt < SIZES["gsm8k"] else "math"


@given(weights=st.lists(st.integers(1, 60), min_size=1, max_size=6), count=st.integers(1, 200))
def test_no_source_is_ever_a_whole_group_away_from_its_share(weights: list[int], count: int) -> None:
    names = [f"s{n}" for n in range(len(weights))]
    stream = open_stream(data(**dict(zip(names, weights, strict=True))), dict.fromkeys(names, 3), 0)
    given_so_far = [0] * len(weights)
    for group in range(count):
        given_so_far[stream.index(group) // 3] += 1
        for source, weight in enumerate(weights):
            assert abs(given_so_far[source] - Fraction(weight * (group + 1), sum(weights))) < 1


def test_a_step_has_the_shares_as_they_are_written() -> None:
    stream = mix()
    for step in range(5):
        sources = [source_of(stream.index(group)) for group in range(10 * step, 10 * step + 10)]
        assert (sources.count("gsm8k"), sources.count("math")) == (7, 3)


def test_each_source_covers_its_prompts_once_an_epoch_of_its_own() -> None:
    stream = mix(gsm8k=1, math=1)
    drawn = [(stream.index(group), stream.epoch(group)) for group in range(40)]
    for name, size in SIZES.items():
        own = [(prompt, epoch) for prompt, epoch in drawn if source_of(prompt) == name]
        assert [epoch for _, epoch in own] == [place // size for place in range(20)]
        for start, end in pairwise(range(0, 20 + 1, size)):
            assert len({prompt for prompt, _ in own[start:end]}) == size


def test_without_shares_every_prompt_comes_up_once_in_as_many_groups_as_there_are_prompts() -> None:
    stream = mix(gsm8k=None, math=None)
    assert sorted(stream.index(group) for group in range(14)) == list(range(14))
    assert shares_of(data(gsm8k=None, math=None), SIZES) == {"gsm8k": Fraction(5, 7), "math": Fraction(2, 7)}


def test_shares_are_exact_decimals_and_relative() -> None:
    assert shares_of(data(gsm8k=0.1, math=0.2), SIZES) == {"gsm8k": Fraction(1, 3), "math": Fraction(2, 3)}
    assert shares_of(data(gsm8k=3, math=1), SIZES)["gsm8k"] == Fraction(3, 4)


def test_one_source_draws_the_same_order_whatever_stands_beside_it_and_another_with_another_seed() -> None:
    def order(seed: int, sizes: dict[str, int]) -> list[int]:
        stream = open_stream(data(**dict.fromkeys(sizes, 1.0)), sizes, seed)
        drawn = [stream.index(group) for group in range(40)]
        return [prompt for prompt in drawn if prompt < 10][:10]

    assert order(0, {"gsm8k": 10, "math": 4}) == order(0, {"gsm8k": 10, "other": 9})
    assert order(0, SIZES) != order(1, SIZES)


def test_without_sources_the_order_is_that_of_one_stream() -> None:
    stream = open_stream(DataConfig(train="t.jsonl"), {"": 9}, 3)
    assert [stream.index(g) for g in range(30)] == [PromptStream(9, 3).index(g) for g in range(30)]


@pytest.mark.parametrize("sampler", ["uniform", "difficulty"])
@pytest.mark.parametrize("cut", [1, 13, 40])
def test_a_mixture_continues_from_its_state_bit_for_bit(sampler: str, cut: int) -> None:
    def run(stream: Stream, first: int, last: int) -> list[tuple[int, int]]:
        drawn = []
        for group in range(first, last):
            drawn.append((stream.index(group), stream.epoch(group)))
            if group >= 3:  # as in a run, three groups are in flight
                stream.observe(group - 3, np.array([1.0, stream.index(group - 3) % 2]))
            if group % 5 == 4:
                stream.end_step()
        return drawn

    straight = run(mix(sampler), 0, 60)
    stopped, resumed = mix(sampler), mix(sampler)
    before = run(stopped, 0, cut)
    resumed.load(stopped.state())
    pending = range(max(0, cut - 3), cut)
    assert [(resumed.index(group), resumed.epoch(group)) for group in pending] == straight[max(0, cut - 3) : cut]
    assert before + run(resumed, cut, 60) == straight


def test_metrics_name_the_source() -> None:
    stream = mix("difficulty", gsm8k=1, math=1)
    for group in range(8):
        stream.observe(group, np.array([float(stream.index(group) >= 0)]))
    values = stream.end_step()
    assert values["source/gsm8k/epochs"] == 0.4
    assert values["source/math/epochs"] == 1.0
    assert values["source/math/sampler/seen"] == 1.0


def test_a_state_of_other_sources_is_refused() -> None:
    alone = open_stream(DataConfig(train="t.jsonl"), {"": 9}, 0)
    with pytest.raises(ValueError, match="not of a run with the sources gsm8k, math"):
        mix().load(alone.state())


def test_a_settled_group_has_no_prompt_any_more() -> None:
    stream = mix()
    stream.observe(0, np.array([1.0 + 0 * stream.index(0)]))
    with pytest.raises(ValueError, match="group 0 is settled"):
        stream.index(0)
