"""The gap between learner and engine taken apart: what adds up, which part shows which cause, and that nothing is learned from it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from learner.batch.tensors import build_batch
from learner.mismatch.gap_parts import WITH_EXPERTS, WITHOUT, GapParts, Scores, parts_of
from learner.mismatch.split import MismatchSplit
from learner.model.policy import Policy
from rollout.types import Group, Response
from tests.toys.split import MEMBERS, next_expert, rows_of, sampled, toy_policy, toy_split, with_responses

NOISE = 0.05
STALE: dict[str, Any] = {"run": {"max_staleness": 2}}


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """A process group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def policy() -> Policy:
    """A learner's policy, which a test may change."""
    return toy_policy()


def measure(split: MismatchSplit, groups: list[Group], version: int = 0) -> dict[str, float]:
    """What the split of all responses tells, without its prefix."""
    return {k.removeprefix("split/"): v for k, v in split.measure(version, rows_of(groups), dict(enumerate(groups))).items()}


def noisy(response: Response) -> Response:
    """As an engine of lower precision tells its log-probs."""
    assert response.logprobs is not None
    noise = np.random.default_rng(len(response)).normal(0, NOISE, len(response)).astype(np.float32)
    return replace(response, logprobs=response.logprobs + noise)


@torch.no_grad()
def drift(policy: Policy) -> None:
    """As a step changes the weights."""
    generator = torch.Generator().manual_seed(5)
    for parameter in policy.parameters():
        parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def test_the_parts_of_every_token_add_up_to_its_gap() -> None:
    engine, *scores = (-10 * torch.rand(5, 30, generator=torch.Generator().manual_seed(n)) for n in range(5))
    mask = torch.arange(150).view(5, 30) % 7 > 0
    sampling, present = Scores(live=scores[0], replayed=scores[1]), Scores(live=scores[2], replayed=scores[3])
    parts = parts_of(engine, sampling, present, mask)
    assert tuple(parts) == WITH_EXPERTS
    gap = (scores[2].double() - engine.double())[mask]
    torch.testing.assert_close(parts["numerics"] + parts["routing"] + parts["staleness"], gap, atol=1e-12, rtol=0)
    torch.testing.assert_close(parts["total"], gap, atol=0, rtol=0)
    torch.testing.assert_close(parts["numerics"] + parts["replayed_staleness"], parts["replayed"], atol=1e-12, rtol=0)
    torch.testing.assert_close(parts["replayed"], (scores[3].double() - engine.double())[mask], atol=0, rtol=0)
    bare = parts_of(engine, replace(sampling, replayed=None), replace(present, replayed=None), mask)
    assert tuple(bare) == WITHOUT
    torch.testing.assert_close(bare["engine"] + bare["staleness"], gap, atol=1e-12, rtol=0)


def test_parts_are_told_by_mean_divergence_and_tail() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=4000))
    gap = GapParts(("total",), torch.device("cpu"))
    for some in (x[:7], x[7:7], x[7:]):
        gap.add({"total": some})
    told = gap.describe()
    assert told["tokens"] == 4000
    assert told["total"] == pytest.approx(float(x.abs().mean()))
    assert told["total_kl"] == pytest.approx(float((x.exp() - 1 - x).mean()))
    assert told["total_max"] == float(x.abs().max())
    assert told["total_p999"] == float(x.abs().sort().values[-4]), "four of 4,000 tokens are a thousandth"


def test_an_engine_that_computes_as_the_learner_does_leaves_no_part(policy: Policy) -> None:
    told = measure(toy_split(policy), [sampled(policy, seed) for seed in (1, 2)])
    assert told["tokens"] > 20
    assert {name: told[f"{name}_max"] for name in WITH_EXPERTS if told[f"{name}_max"] > 1e-5} == {}
    assert (told["differ"], told["tokens_differ"]) == (0.0, 0.0)


@pytest.mark.parametrize("cause", ["numerics", "routing", "staleness"])
def test_each_part_shows_its_own_cause(policy: Policy, cause: str) -> None:
    split = toy_split(policy, **STALE)
    groups = [sampled(policy, seed, choose=next_expert if cause == "routing" else None) for seed in (1, 2)]
    split.measure(0, [], {})
    if cause == "numerics":
        groups = with_responses(groups, noisy)
    if cause == "staleness":
        drift(policy)
    told = measure(split, groups, version=1)
    others = {"numerics", "routing", "staleness"} - {cause}
    assert told[cause] > 0.02
    assert {name: told[f"{name}_max"] for name in others if told[f"{name}_max"] > 1e-5} == {}
    assert told["total"] == pytest.approx(told[cause], rel=1e-3)
    assert told["differ"] == (1.0 if cause == "routing" else 0.0)
    assert (told["replayed"] < 1e-5) == (cause == "routing"), "replay heals what routing did, and that alone"


def test_without_the_engines_experts_numerics_and_routing_are_one(policy: Policy) -> None:
    groups = [sampled(policy, seed, choose=next_expert) for seed in (1, 2)]
    whole, bare = measure(toy_split(policy), groups), measure(toy_split(policy, rollout={}), groups)
    assert bare["engine"] == pytest.approx(whole["routing"], rel=1e-4)
    assert not {"numerics", "routing", "replayed", "differ"} & set(bare)


def test_past_weights_answer_as_they_did_and_the_present_ones_come_back_bitwise(policy: Policy) -> None:
    split = toy_split(policy, **STALE)
    assert split.history is not None
    batch = build_batch(rows_of([sampled(policy, 1)]), [sampled(policy, 1)], 0)
    answers = []
    with torch.no_grad():
        for version in range(4):
            answers.append(policy(batch)[0])
            split.measure(version, [], {})
            drift(policy)
        assert sorted(split.history.kept) == [2, 3]
        present = {name: parameter.clone() for name, parameter in policy.named_parameters()}
        for version in (3, 2, 3):
            with split.history.holding(version):
                assert torch.equal(policy(batch)[0], answers[version])
            assert all(torch.equal(present[name], parameter) for name, parameter in policy.named_parameters())
        with pytest.raises(RuntimeError, match="fails"), split.history.holding(2):
            raise RuntimeError("a pass fails")
    assert all(torch.equal(present[name], parameter) for name, parameter in policy.named_parameters())


def test_who_cannot_be_split_is_counted_by_the_reason(policy: Policy) -> None:
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
    told = measure(toy_split(policy, **STALE), [group], version=3)
    assert {name: told[name] for name in ("responses", "cut", "unrouted", "not_held")} == {
        "responses": 1, "cut": 1, "unrouted": 2, "not_held": 1,
    }  # fmt: skip
    assert measure(toy_split(policy), [replace(group, responses=responses[:1], verdicts=group.verdicts[:1])])["tokens"] == 0


def test_a_share_is_drawn_anew_every_step_and_the_same_by_everyone(policy: Policy) -> None:
    groups = [sampled(policy, seed) for seed in range(5)]
    rows, split = rows_of(groups), toy_split(policy, mismatch={"share": 0.2})
    drawn = [split._draw(step, rows, 4) for step in range(20)]
    assert drawn[3] == toy_split(policy)._draw(3, list(reversed(rows)), 4)
    assert len({tuple(some) for some in drawn}) == 20
    assert {(row.group, row.member) for some in drawn for row in some} == {(row.group, row.member) for row in rows}
    assert measure(split, groups)["responses"] == len(groups) * MEMBERS * 0.2
    assert measure(toy_split(policy, mismatch={"share": 1e-6}), groups)["responses"] == 1


def test_masked_tokens_are_not_counted(policy: Policy) -> None:
    groups = [sampled(policy, 1)]
    tokens = measure(toy_split(policy), groups)["tokens"]

    def without_the_first(response: Response) -> Response:
        assert response.logprobs is not None
        return replace(response, logprobs=np.where(np.arange(len(response)) == 0, np.float32("nan"), response.logprobs))

    told = measure(toy_split(policy), with_responses(groups, without_the_first))
    assert told["tokens"] == tokens - MEMBERS
    assert told["total"] < 1e-5


def test_passes_are_packed_and_half_of_them_saved_where_the_weights_are_still_the_same(policy: Policy) -> None:
    groups = [sampled(policy, seed) for seed in range(3)]
    split = toy_split(policy, **STALE)
    measure(split, groups)
    assert split.zero.passes == 2  # type: ignore[attr-defined]
    measure(split, groups, version=1)
    assert split.zero.passes == 2 + 4  # type: ignore[attr-defined]
    small = toy_split(policy, learner={"micro_batch_tokens": 24})
    measure(small, groups)
    assert small.zero.passes > 4  # type: ignore[attr-defined]


def test_nothing_is_scored_without_a_share(policy: Policy) -> None:
    split = toy_split(policy, **STALE, mismatch={"share": 0.0})
    assert measure(split, [sampled(policy, 1)]) == {}
    assert split.history is None
    assert split.zero.passes == 0  # type: ignore[attr-defined]
