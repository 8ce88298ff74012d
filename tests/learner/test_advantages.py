import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import presets
from learner.loss import advantages
from learner.loss.advantages import ADVANTAGES, has_signal
from rollout.types import GroupSummary
from tests.toys.learner import toy_group

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "objectives.json").read_text())
NAN = float("nan")
OURS = {  # golden name: ours, and the epsilon where it is not ours
    "grpo_std_bessel_eps1e_6": ("standardised", None),
    "grpo_std_bessel_eps1e_4": ("standardised", 1e-4),
    "grpo_std_population_eps1e_6": ("population", None),
    "mean_only": ("centred", None),
    "rloo": ("leave_one_out", None),
    "loo_mean_loo_std": ("leave_one_out_standardised", None),
    "rpp_baseline_token_whiten_bessel": ("whitened", None),
    "gdpo_one_part": ("decoupled", None),
    "maxrl": ("mean_normalised", None),
    "opo": ("length_weighted", None),
}
ESSAY = {
    "mean_only": ("centred", None),
    "grpo_population_eps0": ("population", 0.0),
    "grpo_sample_eps0": ("standardised", 0.0),
    "grpo_sample_eps1e_6": ("standardised", None),
    "grpo_sample_eps1e_4": ("standardised", 1e-4),
    "rloo": ("leave_one_out", None),
    "loo_mean_loo_std": ("leave_one_out_standardised", None),
}

# Advantages that a constant added to the rewards changes: it adds to the mean by which they are divided.
SHIFTED = {"mean_normalised"}
rewards = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=12).map(np.array)
names = st.sampled_from(sorted(set(ADVANTAGES) - SHIFTED))
every_advantage = pytest.mark.parametrize("name", sorted(ADVANTAGES))


def of(name: str, *groups: Sequence[float] | np.ndarray, tokens: Sequence[Sequence[float]] | None = None) -> list[np.ndarray]:
    """The advantages of each group; by default every response has three learned tokens and a failed one none."""
    arrays = [np.array(group, np.float64) for group in groups]
    counts = [np.where(np.isfinite(array), 3.0, 0.0) for array in arrays] if tokens is None else [np.array(t, np.float64) for t in tokens]
    return ADVANTAGES[name](arrays, counts)


def test_every_choice_a_config_may_name_is_there() -> None:
    assert set(ADVANTAGES) == set(presets.ADVANTAGES)


def test_four_essays_get_the_advantages_of_the_textbook() -> None:
    np.testing.assert_allclose(of("standardised", [80, 60, 20, 40])[0], [1.161895, 0.387298, -1.161895, -0.387298], atol=5e-7)


@pytest.mark.parametrize("golden", OURS)
def test_advantages_are_the_golden_ones(golden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, epsilon = OURS[golden]
    monkeypatch.setattr(advantages, "EPSILON", advantages.EPSILON if epsilon is None else epsilon)
    batch = {key: np.array(GOLDEN["batch"][key]) for key in ("group", "reward", "mask")}
    by_group = [(batch["reward"][batch["group"] == g], batch["mask"].sum(1)[batch["group"] == g]) for g in (0, 1)]
    ours = np.concatenate(ADVANTAGES[name]([r for r, _ in by_group], [t for _, t in by_group]))
    expected = np.array(GOLDEN["advantages"][golden])
    np.testing.assert_allclose(ours[:, None] * batch["mask"] if expected.ndim == 2 else ours, expected, atol=1e-9, rtol=0)


def test_every_golden_advantage_is_computed_but_the_whitening_that_is_not_offered() -> None:
    assert set(GOLDEN["advantages"]) - set(OURS) == {"rpp_baseline_token_whiten_population"}
    assert set(GOLDEN["essay"]) - set(ESSAY) == {"scores", "mean", "std_population", "std_sample"}


@pytest.mark.parametrize("golden", ESSAY)
def test_the_essays_are_the_golden_ones(golden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, epsilon = ESSAY[golden]
    monkeypatch.setattr(advantages, "EPSILON", advantages.EPSILON if epsilon is None else epsilon)
    np.testing.assert_allclose(of(name, GOLDEN["essay"]["scores"])[0], GOLDEN["essay"][golden], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("standardised", "grpo_sample"),
        ("population", "grpo_population"),
        ("leave_one_out", "rloo"),
        ("leave_one_out_standardised", "loo_mean_loo_std"),
    ],
)
def test_lone_successes_are_the_golden_ones(name: str, golden: str) -> None:
    edges = GOLDEN["edges"]
    np.testing.assert_allclose(of(name, [1, 0, 0, 0])[0], edges["one_success_of_four"][golden], atol=1e-9, rtol=0)
    if golden in edges["group_of_two"]:
        np.testing.assert_allclose(of(name, edges["group_of_two"]["rewards"])[0], edges["group_of_two"][golden], atol=1e-9, rtol=0)


@every_advantage
def test_the_golden_groups_without_a_difference_get_exactly_zero(name: str) -> None:
    equal, noise = GOLDEN["edges"]["all_equal_group"], GOLDEN["edges"]["equal_group_float32_noise"]
    assert of(name, equal["rewards"])[0].tolist() == equal["grpo"] == equal["rloo"]
    as_float32 = np.array(noise["rewards"], np.float32)
    assert float(as_float32.std(ddof=1)) == pytest.approx(noise["std_f32"], rel=1e-5)  # what an epsilon alone would divide by
    assert of(name, as_float32)[0].tolist() == [0.0] * 7


@every_advantage
@pytest.mark.parametrize(
    "equal",
    [
        [0.7] * 7,
        [float(np.float32(0.7))] * 7,
        [1.0] * 4,
        [1e12 + 0.7] * 7,
        [0.7, 0.7, 0.7 + 1e-12],
        [0.3, NAN, 0.3],
        [0.5],
        [NAN, 5.0, NAN],
        [NAN, NAN],
        [],
    ],
    ids=str,
)
def test_a_group_without_a_difference_gets_exactly_zero(name: str, equal: list[float]) -> None:
    assert of(name, equal)[0].tolist() == [0.0] * len(equal)
    if name != "whitened":  # which shifts all responses of a step alike
        assert of(name, [1.0, 0.0], equal)[1].tolist() == [0.0] * len(equal)


@every_advantage
def test_a_failure_gets_zero_and_does_not_move_the_others(name: str) -> None:
    (scored,) = of(name, [1.0, 0.0, 0.5])
    np.testing.assert_allclose(of(name, [1.0, NAN, 0.0, 0.5, NAN])[0], [scored[0], 0.0, scored[1], scored[2], 0.0], atol=1e-15)


@every_advantage
def test_a_step_of_failures_gets_zeros(name: str) -> None:
    assert [group.tolist() for group in of(name, [NAN, NAN], [NAN])] == [[0.0, 0.0], [0.0]]


@given(rewards, rewards, names, st.integers(-3, 3))
def test_a_constant_added_to_all_rewards_changes_nothing(rewards: np.ndarray, others: np.ndarray, name: str, shift: int) -> None:
    for ours, theirs in zip(of(name, rewards + shift, others + shift), of(name, rewards, others), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@given(rewards, rewards, st.sampled_from(sorted(set(ADVANTAGES) - {"batch_std", *SHIFTED})), st.integers(-3, 3))
def test_a_constant_added_to_the_rewards_of_one_group_changes_nothing(
    rewards: np.ndarray, others: np.ndarray, name: str, shift: int
) -> None:
    for ours, theirs in zip(of(name, rewards + shift, others), of(name, rewards, others), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@given(rewards, rewards, names, st.floats(0.5, 100))
def test_the_scale_of_rewards_does_not_matter_once_standardised(rewards: np.ndarray, others: np.ndarray, name: str, scale: float) -> None:
    if name == "leave_one_out_standardised":
        return  # leaves a lone success undivided
    factor = scale if name in ("centred", "leave_one_out", "length_weighted") else 1.0
    for ours, theirs in zip(of(name, scale * rewards, scale * others), of(name, rewards, others), strict=True):
        np.testing.assert_allclose(ours, factor * theirs, atol=3e-5)


@given(rewards, rewards, st.sampled_from(sorted(set(ADVANTAGES) - {"leave_one_out_standardised", "whitened", *SHIFTED})))
def test_advantages_of_a_group_sum_to_zero(rewards: np.ndarray, others: np.ndarray, name: str) -> None:
    assert all(abs(group.sum()) < 1e-9 for group in of(name, rewards, others))


@given(rewards, rewards, st.integers(0, 1000))
def test_whitened_advantages_have_mean_zero_and_variance_one_over_tokens(rewards: np.ndarray, others: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(0, 9, len(group)).tolist() for group in (rewards, others)]
    values = np.repeat(np.concatenate(of("whitened", rewards, others, tokens=tokens)), np.concatenate(tokens).astype(int))
    if values.any():
        assert values.mean() == pytest.approx(0, abs=1e-9)
        assert values.var(ddof=1) == pytest.approx(1, abs=1e-6)


def test_whitening_weighs_by_tokens_and_gives_zero_where_there_are_none() -> None:
    (group,) = of("whitened", [1.0, 0.0], tokens=[[1, 3]])  # centred to 1/2 and -1/2; mean -1/4, variance 1/4 over four tokens
    np.testing.assert_allclose(group, [1.5, -0.5], atol=1e-7)
    (group,) = of("whitened", [1.0, 0.0, 0.0, 2.0], tokens=[[1, 3, 0, 2]])
    assert group[2] == 0
    assert [g.tolist() for g in of("whitened", [1.0, 0.0], tokens=[[0, 0]])] == [[0.0, 0.0]]
    assert [g.tolist() for g in of("whitened", [1.0, 0.0], tokens=[[1, 0]])] == [[0.0, 0.0]]
    assert [g.tolist() for g in of("whitened", [0.7, 0.7, 0.7, 0.0], tokens=[[7, 3, 1, 0]])] == [[0.0] * 4]


def test_whitening_shifts_a_group_without_a_difference_as_all_others() -> None:
    varied, equal = of("whitened", [1.0, 0.0], [1.0, 1.0], tokens=[[1, 3], [2, 2]])
    assert equal[0] == equal[1] != 0
    assert equal[0] == pytest.approx((varied[0] + varied[1]) / 2)


def test_the_standard_deviation_of_the_batch_is_over_all_scored_rewards() -> None:
    first, second = of("batch_std", [1.0, 0.0, NAN], [3.0, 1.0])  # 1, 0, 3, 1: mean 1.25, squares 4.75
    spread = (4.75 / 3) ** 0.5 + 1e-6
    np.testing.assert_allclose(first, [0.5 / spread, -0.5 / spread, 0.0], atol=1e-15)
    np.testing.assert_allclose(second, [1 / spread, -1 / spread], atol=1e-15)


def test_a_group_judged_by_itself_does_not_see_the_others() -> None:
    for name in (
        "standardised",
        "population",
        "centred",
        "leave_one_out",
        "leave_one_out_standardised",
        "mean_normalised",
        "length_weighted",
    ):
        assert of(name, [1.0, 0.0, 0.5], [9.0, 1.0])[0].tolist() == of(name, [1.0, 0.0, 0.5])[0].tolist()


@pytest.mark.parametrize(
    ("correct", "aborted", "expected"),
    [
        ([1, 0, 0], [0, 0, 0], True),
        ([1, 1, 1], [0, 0, 0], False),
        ([0.7, 0.7, 0.7], [0, 0, 0], False),
        ([1, NAN, 1], [0, 0, 0], False),
        ([1, NAN, 0], [0, 0, 0], True),
        ([1, 0, 1], [0, 1, 0], False),
        ([1, NAN, NAN], [0, 0, 0], False),
    ],
)
def test_signal_is_raw_correctness_that_varies_among_survivors(correct: list[float], aborted: list[int], expected: bool) -> None:
    summary = replace(
        GroupSummary.of(toy_group(0, members=3)),
        rewards=np.array([0.1, 0.2, 0.3]),  # shaped rewards always vary and must not count
        correct=np.array(correct, np.float64),
        aborted=np.array(aborted, np.bool_),
    )
    assert has_signal(summary) is expected


def test_a_success_counts_for_maxrl_as_much_as_it_is_rare() -> None:
    assert of("mean_normalised", [1, 0, 0, 0])[0].tolist() == [3, -1, -1, -1]
    assert of("mean_normalised", [1, 1, 1, 0])[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, -1])
    np.testing.assert_allclose(of("mean_normalised", [0.25, 0.5, NAN])[0], [-1 / 3, 1 / 3, 0])


def test_maxrl_is_unbiased_for_the_likelihood_truncated_at_the_size_of_the_group() -> None:
    p, size = 0.3, 4  # E[A grad log p] of G draws from {right, wrong}, against the gradient of sum_k<=G of -(1-p)^k / k
    expected = 0.0
    for code in range(2**size):
        draws = np.array([(code >> i) & 1 for i in range(size)], np.float64)
        score = np.where(draws > 0, 1 / p, -1 / (1 - p))
        chance = float(np.prod(np.where(draws > 0, p, 1 - p)))
        expected += chance * float((of("mean_normalised", draws)[0] * score).mean())
    assert expected == pytest.approx(sum((1 - p) ** (k - 1) for k in range(1, size)), abs=1e-12)


def test_maxrl_refuses_a_negative_reward_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"got a reward of -1, .* let checkers and parts return 0 to 1"):
        of("mean_normalised", [1.0, -1.0])


def test_the_baseline_of_opo_is_the_mean_weighted_by_length() -> None:
    (group,) = of("length_weighted", [1.0, 0.0, NAN, 1.0], tokens=[[10, 30, 500, 0]])
    np.testing.assert_allclose(group, [0.75, -0.25, 0.0, 0.75])
    (group,) = of("length_weighted", [1.0, 0.0], tokens=[[0, 0]])
    assert group.tolist() == [0.5, -0.5]
    np.testing.assert_allclose(of("length_weighted", [1.0, 0.0, 1.0], tokens=[[5, 5, 5]])[0], of("centred", [1.0, 0.0, 1.0])[0])
