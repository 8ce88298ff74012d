"""A rank gives all its memory away between steps and goes on to the bit, under real DeepSpeed."""

from typing import Any

import pytest

from tests.conftest import RankResults

pytestmark = pytest.mark.end_to_end

RUNS = [("zero0", 1), ("zero2", 2), ("bare3", 2), ("experts2", 2)]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> dict[tuple[str, int], dict[str, Any]]:
    """What every run with parked memory left."""
    found = ranks.of("parking")
    assert sorted(found) == sorted(RUNS)
    return found


@pytest.mark.parametrize("key", RUNS)
def test_parked_weights_moments_and_reference_come_back_to_the_bit(results: dict[tuple[str, int], Any], key: tuple[str, int]) -> None:
    found = results[key]
    assert found["straight"]
    assert found["parked"] == found["straight"]
    assert found["loaded"] == found["straight"], "what is saved after a turn is what would have been saved without one"


@pytest.mark.parametrize("key", RUNS)
def test_nothing_of_the_policy_its_optimizer_or_the_reference_stays(results: dict[tuple[str, int], Any], key: tuple[str, int]) -> None:
    found = results[key]
    assert found["left"] == 0
    assert found["given"] > 3 * found["weights"], "weights, two moments, the reference"
