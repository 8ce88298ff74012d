"""The parts of the mismatch between learner and engine: they add up, each shows its own cause, and measuring them learns nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from learner.batch.fetched import Fetched, InMemory, fetch_all
from learner.batch.row import Place, Row
from learner.batch.tensors import build_batch
from learner.mismatch.parts import WITH_EXPERTS, WITHOUT_EXPERTS, MismatchParts, Scores, parts_of
from learner.mismatch.rescoring import Rescoring
from learner.model.policy import Policy
from rollout.types import Experts, Group, Response
from tests.toys.batches import whole_batch
from tests.toys.process_group import alone
from tests.toys.rescoring import MEMBERS, next_expert, rows_of, sampled, toy_policy, toy_rescoring, with_responses

NOISE = 0.05
STALE: dict[str, Any] = {"run": {"max_staleness": 2}}


@pytest.fixture(autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


@pytest.fixture
def policy() -> Policy:
    """A learner's policy, which a test may change."""
    return toy_policy()


def measure(rescoring: Rescoring, groups: list[Group], version: int = 0) -> dict[str, float]:
    """The metrics of all responses, without their prefix."""
    fetched = fetch_all(groups, rows_of(groups))
    drawn = rescoring.draw(version, rows_of(groups), fetched)
    return {k.removeprefix("split/"): v for k, v in rescoring.measure(version, drawn, fetched).items()}


def noisy(response: Response) -> Response:
    """The response with log-probs of an engine of lower precision."""
    assert response.logprobs is not None
    noise = np.random.default_rng(len(response)).normal(0, NOISE, len(response)).astype(np.float32)
    return replace(response, logprobs=response.logprobs + noise)


@torch.no_grad()
def drift(policy: Policy) -> None:
    """Change the weights as a step does."""
    generator = torch.Generator().manual_seed(5)
    for parameter in policy.parameters():
        parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def test_the_parts_of_every_token_add_up_to_its_mismatch() -> None:
    engine, *scores = (-10 * torch.rand(5, 30, generator=torch.Generator().manual_seed(n)) for n in range(5))
    mask = torch.arange(150).view(5, 30) % 7 > 0
    sampling, present = Scores(live=scores[0], replayed=scores[1]), Scores(live=scores[2], replayed=scores[3])
    parts = parts_of(engine, sampling, present, mask)
    assert tuple(parts) == WITH_EXPERTS
    mismatch = (scores[2].double() - engine.double())[mask]
    torch.testing.assert_close(parts["numerics"] + parts["routing"] + parts["staleness"], mismatch, atol=1e-12, rtol=0)
    torch.testing.assert_close(parts["total"], mismatch, atol=0, rtol=0)
    torch.testing.assert_close(parts["numerics"] + parts["replayed_staleness"], parts["replayed"], atol=1e-12, rtol=0)
    torch.testing.assert_close(parts["replayed"], (scores[3].double() - engine.double())[mask], atol=0, rtol=0)
    bare = parts_of(engine, replace(sampling, replayed=None), replace(present, replayed=None), mask)
    assert tuple(bare) == WITHOUT_EXPERTS
    torch.testing.assert_close(bare["engine"] + bare["staleness"], mismatch, atol=1e-12, rtol=0)


def test_parts_are_reported_by_mean_divergence_and_tail() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=4000))
    parts = MismatchParts(("total",), torch.device("cpu"))
    for some in (x[:7], x[7:7], x[7:]):
        parts.add({"total": some})
    metrics = parts.describe()
    assert metrics["tokens"] == 4000
    assert metrics["total"] == pytest.approx(float(x.abs().mean()))
    assert metrics["total_kl"] == pytest.approx(float((x.exp() - 1 - x).mean()))
    assert metrics["total_max"] == float(x.abs().max())
    assert metrics["total_p999"] == float(x.abs().sort().values[-4]), "four of 4,000 tokens are a thousandth"


def test_an_engine_that_computes_as_the_learner_does_leaves_no_part(policy: Policy) -> None:
    metrics = measure(toy_rescoring(policy), [sampled(policy, seed) for seed in (1, 2)])
    assert metrics["tokens"] > 20
    assert {name: metrics[f"{name}_max"] for name in WITH_EXPERTS if metrics[f"{name}_max"] > 1e-5} == {}
    assert (metrics["differ"], metrics["tokens_differ"]) == (0.0, 0.0)


@pytest.mark.parametrize("cause", ["numerics", "routing", "staleness"])
def test_each_part_shows_its_own_cause(policy: Policy, cause: str) -> None:
    rescoring = toy_rescoring(policy, **STALE)
    groups = [sampled(policy, seed, choose=next_expert if cause == "routing" else None) for seed in (1, 2)]
    measure(rescoring, [])
    if cause == "numerics":
        groups = with_responses(groups, noisy)
    if cause == "staleness":
        drift(policy)
    metrics = measure(rescoring, groups, version=1)
    others = {"numerics", "routing", "staleness"} - {cause}
    assert metrics[cause] > 0.02
    assert {name: metrics[f"{name}_max"] for name in others if metrics[f"{name}_max"] > 1e-5} == {}
    assert metrics["total"] == pytest.approx(metrics[cause], rel=1e-3)
    assert metrics["differ"] == (1.0 if cause == "routing" else 0.0)
    assert (metrics["replayed"] < 1e-5) == (cause == "routing"), "replay removes the routing part, and only that"


def test_without_the_engines_experts_numerics_and_routing_are_one(policy: Policy) -> None:
    groups = [sampled(policy, seed, choose=next_expert) for seed in (1, 2)]
    whole, bare = measure(toy_rescoring(policy), groups), measure(toy_rescoring(policy, rollout={}), groups)
    assert bare["engine"] == pytest.approx(whole["routing"], rel=1e-4)
    assert not {"numerics", "routing", "replayed", "differ"} & set(bare)


def test_past_weights_give_the_same_log_probs_as_then_and_the_present_ones_come_back_bitwise(policy: Policy) -> None:
    rescoring = toy_rescoring(policy, **STALE)
    assert rescoring.history is not None
    batch = whole_batch(rows_of([sampled(policy, 1)]), [sampled(policy, 1)], 0)
    answers = []
    with torch.no_grad():
        for version in range(4):
            answers.append(policy(batch)[0])
            measure(rescoring, [], version)
            drift(policy)
        assert sorted(rescoring.history.stored) == [2, 3]
        present = {name: parameter.clone() for name, parameter in policy.named_parameters()}
        for version in (3, 2, 3):
            with rescoring.history.swapped_in(version):
                assert torch.equal(policy(batch)[0], answers[version])
            assert all(torch.equal(present[name], parameter) for name, parameter in policy.named_parameters())
        with pytest.raises(RuntimeError, match="fails"), rescoring.history.swapped_in(2):
            raise RuntimeError("a pass fails")
    assert all(torch.equal(present[name], parameter) for name, parameter in policy.named_parameters())


def test_responses_that_are_left_out_are_counted_by_reason(policy: Policy) -> None:
    cut, unrouted, short, unknown, whole = (sampled(policy, seed, version=3).responses[0] for seed in range(5))
    assert short.routed_experts is not None
    responses = (
        replace(cut, newest_version=4),
        replace(unrouted, routed_experts=None),
        replace(short, routed_experts=short.routed_experts[1:]),
        replace(unknown, oldest_version=2, newest_version=2),
        whole,
    )
    group = sampled(policy, 0)
    group = replace(group, responses=responses, verdicts=group.verdicts[:1] * 5)
    metrics = measure(toy_rescoring(policy, **STALE), [group], version=3)
    assert {name: metrics[name] for name in ("responses", "cut", "unrouted", "not_held")} == {
        "responses": 1, "cut": 1, "unrouted": 2, "not_held": 1,
    }  # fmt: skip
    assert measure(toy_rescoring(policy), [replace(group, responses=responses[:1], verdicts=group.verdicts[:1])])["tokens"] == 0


def test_a_share_is_drawn_anew_every_step_and_the_same_by_everyone(policy: Policy) -> None:
    groups = [sampled(policy, seed) for seed in range(5)]
    rows, rescoring = rows_of(groups), toy_rescoring(policy, mismatch={"share": 0.2})

    def draw(by: Rescoring, step: int, rows: list[Row]) -> Sequence[Row]:
        now = with_responses(groups, lambda response: replace(response, oldest_version=step, newest_version=step))
        return by.draw(step, rows, fetch_all(now, rows)).rows

    drawn = [draw(rescoring, step, rows) for step in range(20)]
    assert drawn[3] == draw(toy_rescoring(policy, mismatch={"share": 0.2}), 3, list(reversed(rows)))
    assert len({tuple(some) for some in drawn}) == 20
    assert {(row.group, row.member) for some in drawn for row in some} == {(row.group, row.member) for row in rows}
    assert measure(rescoring, groups)["responses"] == len(groups) * MEMBERS * 0.2
    assert measure(toy_rescoring(policy, mismatch={"share": 1e-6}), groups)["responses"] == 1


def test_masked_tokens_are_not_counted(policy: Policy) -> None:
    groups = [sampled(policy, 1)]
    tokens = measure(toy_rescoring(policy), groups)["tokens"]

    def without_the_first(response: Response) -> Response:
        assert response.logprobs is not None
        return replace(response, logprobs=np.where(np.arange(len(response)) == 0, np.float32("nan"), response.logprobs))

    metrics = measure(toy_rescoring(policy), with_responses(groups, without_the_first))
    assert metrics["tokens"] == tokens - MEMBERS
    assert metrics["total"] < 1e-5


def test_passes_are_packed_and_half_as_many_if_the_weights_are_still_the_same(policy: Policy) -> None:
    groups = [sampled(policy, seed) for seed in range(3)]
    rescoring = toy_rescoring(policy, **STALE)
    measure(rescoring, groups)
    assert rescoring.zero.passes == 2  # type: ignore[attr-defined]
    measure(rescoring, groups, version=1)
    assert rescoring.zero.passes == 2 + 4  # type: ignore[attr-defined]
    small = toy_rescoring(policy, learner={"micro_batch_tokens": 24})
    measure(small, groups)
    assert small.zero.passes > 4  # type: ignore[attr-defined]


def test_nothing_is_scored_without_a_share(policy: Policy) -> None:
    rescoring = toy_rescoring(policy, **STALE, mismatch={"share": 0.0})
    assert measure(rescoring, [sampled(policy, 1)]) == {}
    assert rescoring.history is None
    assert rescoring.zero.passes == 0  # type: ignore[attr-defined]


class Counting(InMemory):
    """A source that notes whose recorded experts were fetched."""

    def __init__(self, groups: list[Group]) -> None:
        super().__init__(groups)
        self.asked: list[Place] = []

    def experts(self, places: Sequence[Place]) -> Sequence[Experts | None]:
        self.asked += places
        return super().experts(places)


def test_recorded_experts_are_fetched_for_the_drawn_responses_only_and_more_where_those_lack_them(policy: Policy) -> None:
    groups = [sampled(policy, seed) for seed in range(5)]
    rows, rescoring = rows_of(groups), toy_rescoring(policy, mismatch={"share": 0.2})
    source = Counting(groups)
    fetched = Fetched(source, rows)
    drawn = rescoring.draw(0, rows, fetched)
    assert source.asked == [row.place for row in drawn.rows]
    assert len(drawn.rows) == len(rows) * 0.2
    assert drawn == rescoring.draw(0, rows, fetch_all(groups, rows)), "the draw is the same if all are here"
    assert source.asked == [row.place for row in drawn.rows], "nothing is fetched twice"
    measured = rescoring.measure(0, drawn, fetched)
    assert measured["split/differ"] == 0.0
    first, member = drawn.rows[0].place
    torn = list(groups[first].responses)
    torn[member] = replace(torn[member], routed_experts=None)
    source = Counting([replace(group, responses=tuple(torn)) if place == first else group for place, group in enumerate(groups)])
    fetched = Fetched(source, rows)
    again = rescoring.draw(0, rows, fetched)
    assert again.rows[: len(drawn.rows) - 1] == drawn.rows[1:]
    assert (len(again.rows), again.left_out, len(source.asked)) == (len(drawn.rows), ["unrouted"], len(drawn.rows) + 1)
    batch = build_batch(rows, fetched, 0, captured=rescoring.captured)
    assert batch.unrouted == 1, "a recording that nobody fetched is not missing"
    assert batch.experts is not None
    assert int(batch.experts.known.any(1).sum()) == len(drawn.rows)
