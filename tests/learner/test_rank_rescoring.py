"""The parts of the mismatch under real DeepSpeed on two ranks: past weights are swapped in and out, and learning does not change."""

from typing import Any

import pytest
import torch

from tests.conftest import RankResults

pytestmark = pytest.mark.end_to_end

every_run = pytest.mark.parametrize("name", ["half1", "zero3", "bare3"])
Results = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Results:
    """ZeRO-1 in bfloat16, ZeRO-3 with whole parameters beside their shards, and ZeRO-3 with shards only."""
    return ranks.of("rescoring")


@every_run
def test_a_run_with_rescoring_learns_bitwise_the_same_as_one_without(results: Results, name: str) -> None:
    with_rescoring, without = results[name, 2]["proofs"]
    assert with_rescoring == without
    assert len(with_rescoring) > 20


@every_run
def test_past_weights_give_the_same_log_probs_as_then_and_the_present_ones_come_back(results: Results, name: str) -> None:
    result = results[name, 2]
    *past, last = result["answers"]
    assert sorted(result["again"]) == [1, 2], "one version for each step that responses may be stale"
    for version, answer in result["again"].items():
        assert torch.equal(answer, past[version])
        assert not torch.equal(answer, last)
    assert torch.equal(result["present"], last)


@every_run
def test_every_rank_makes_equally_many_passes_even_if_one_has_less_to_score(results: Results, name: str) -> None:
    (first, idle), (second, also_idle) = results[name, 2]["passes"]
    assert first == second
    assert len(first) == 3
    assert (idle, also_idle) == ((0, 6) if name == "zero3" else (0, 0))


@every_run
def test_all_ranks_report_the_parts_of_all_their_tokens(results: Results, name: str) -> None:
    *_, last = results[name, 2]["stats"]
    assert last["split/tokens"] == last["learned_tokens"], "every response is rescored"
    assert last["split/total"] == pytest.approx(last["mismatch/mean"], rel=1e-3 if name == "half1" else 1e-6)
    assert last["split/staleness"] > 1e-3
    assert last["split/not_held"] == last["split/cut"] == last["split/unrouted"] == 0
    assert 0.5 < last["routing/differ"] <= last["routing/tokens_differ"] <= 1, "the recorded experts are random"
