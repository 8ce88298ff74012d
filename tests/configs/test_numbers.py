"""The bounds of numbers: shares, rates, and coefficients that may be above 1."""

import pytest

from configs.suggest import known_keys
from tests.configs.test_configs import config_with, sole_refusal

SHARES = ("mismatch.share", "reward.warn_failures")
POSITIVE = ("data.difficulty_floor", "objective.router_shift")


@pytest.mark.parametrize("key", [*SHARES, *POSITIVE])
@pytest.mark.parametrize("given", ["1.01", "5", "50"])
def test_a_share_above_one_is_refused_with_its_bounds_and_an_example(key: str, given: str) -> None:
    line = sole_refusal(f"{key}={given}", "data.sampler=difficulty")
    assert f"{key}: got {given}; needed a number, {'above' if key in POSITIVE else 'at least'} 0, at most 1 (" in line
    assert f"write for example {key.split('.')[1]} = 0." in line


@pytest.mark.parametrize("key", SHARES)
def test_a_share_may_be_all_or_nothing(key: str) -> None:
    config_with(f"{key}=0", f"{key}=1.0")
    assert "at least 0, at most 1" in sole_refusal(f"{key}=-0.1")


@pytest.mark.parametrize("key", POSITIVE)
def test_a_floor_may_be_one_but_not_zero(key: str) -> None:
    config_with(f"{key}=1", "data.sampler=difficulty")
    assert "got 0; needed a number, above 0, at most 1" in sole_refusal(f"{key}=0", "data.sampler=difficulty")


@pytest.mark.parametrize(
    "given",
    [
        "learner.weight_decay=2",
        "learner.aux_loss=1.5",
        "kl.coefficient=3 kl.reference=initial",
        "objective.preset=dppo_tv objective.pull=2",
        "correction.opsm=4",
    ],
)
def test_a_coefficient_may_be_above_one_but_not_below_zero(given: str) -> None:
    *others, pair = given.split()[::-1] if "preset" not in given else given.split()
    config_with(*others, pair)
    key = pair.partition("=")[0]
    assert "at least 0" in sole_refusal(*others, f"{key}=-1")


@pytest.mark.parametrize(("section", "leaf"), [(section, leaf) for section, keys in known_keys().items() for leaf in keys])
def test_every_key_says_in_one_sentence_what_it_is(section: str, leaf: str) -> None:
    said = known_keys()[section][leaf]["description"]
    assert said == said.strip()
    assert not said.endswith(".")
    assert len(said.partition(". ")[0]) <= 160


HUGE = f"1{'0' * 400}"


@pytest.mark.parametrize("key", ["rollout.engines", "learner.ranks", "learner.cpus_per_rank", "judge.retries", "kl.coefficient"])
def test_a_number_of_400_digits_is_refused_as_such(key: str) -> None:
    assert f"{key}: got {HUGE[:60]}…; needed a number of at most 64 bits" in sole_refusal(f"{key}={HUGE}")


def test_a_list_with_a_number_of_400_digits_is_refused_as_such() -> None:
    assert "needed a number of at most 64 bits" in sole_refusal(f"reward.range=[0,{HUGE}]")
