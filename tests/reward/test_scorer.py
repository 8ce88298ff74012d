"""A scorer asks for every part of a reward, from processes and services alike, and what a second checker says counts for nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from configs.schema import Config
from reward.asked import Asked
from reward.code_limits import code_limits
from reward.scorer import Scorer, used_checkers
from reward.shaping import disagrees
from rollout.types import Outcome, Verdict
from tests.toys import bad_checkers

pytestmark = pytest.mark.timeout(60)


def config(**reward: object) -> Config:
    tables = {"workers": 1, "checker": "exact", "memory_mb": 1024, **reward}
    return Config.model_validate(
        {"model": {"path": "m"}, "data": {"train": "t.jsonl"}, "rollout": {"max_response_tokens": 20}, "reward": tables}
    )


def score(config: Config, *responses: str, checker: str = "exact", reference: object = "4", tokens: int = 3) -> list[Verdict]:
    async def main() -> list[Verdict]:
        async with Scorer(config) as scorer:
            return await scorer.score(
                [
                    Asked(checker=checker, response=r, reference=reference, tokens=tokens, prompt="2+2=", row="train.jsonl line 7")
                    for r in responses
                ]
            )

    return asyncio.run(main())


def rewards(verdicts: Sequence[Verdict]) -> list[float | None]:
    return [verdict.reward for verdict in verdicts]


def test_every_part_is_asked_with_its_own_reference_or_the_rows() -> None:
    parts = {"brevity": {"checker": "length", "weight": 0.5, "reference": {"max": 1, "unit": "words"}}, "match": {"weight": 0.25}}
    verdicts = score(config(parts=parts), "4", "4.", "not that short")
    assert rewards(verdicts) == [1.75, 0.75, 0.0]
    assert verdicts[1].parts == {"correct": 0.0, "brevity": 1.0, "match": 1.0}


def test_references_may_be_integers_of_any_number_of_digits() -> None:
    assert rewards(score(config(), f"1{'0' * 5000}", "4", reference=10**5000)) == [1.0, 0.0]


def test_the_second_checker_is_kept_and_counts_for_nothing() -> None:
    verdicts = score(config(second="match"), "4", "4.", "5")
    assert rewards(verdicts) == [1.0, 0.0, 0.0]
    assert [verdict.parts["second"] for verdict in verdicts] == [1.0, 1.0, 0.0]
    assert [disagrees(verdict) for verdict in verdicts] == [False, True, False]


def test_a_second_checker_that_fails_takes_no_reward_away() -> None:
    verdicts = score(config(second="tests.toys.bad_checkers:raise_error"), "4")
    assert verdicts == [Verdict(reward=1.0, parts={"correct": 1.0})]
    assert not disagrees(verdicts[0])


def test_a_part_that_fails_takes_the_whole_reward_with_its_name_and_kind() -> None:
    parts = {"style": {"checker": "tests.toys.bad_checkers:raise_error"}}
    (verdict,) = score(config(parts=parts), "4")
    place = f"{bad_checkers.__file__}:{bad_checkers.raise_error.__code__.co_firstlineno + 1} in raise_error"
    said = f"part 'style': error: KeyError: 'no such thing' ({place}) [train.jsonl line 7; response '4']"
    assert verdict == Verdict.failed(Outcome.UNSCORABLE, said)


def test_a_service_without_an_address_is_a_failure_of_its_part_and_never_a_zero() -> None:
    with pytest.raises(ValueError, match=r"http\.url"):
        config(parts={"http": {}})


def test_over_long_responses_are_punished_on_top() -> None:
    assert rewards(score(config(overlong_cache=10), "4", tokens=15)) == [0.5]


def test_what_a_config_names_is_used_once_each_in_order() -> None:
    named = config(second="math", parts={"tags": {"reference": ["a"]}, "more": {"checker": "exact"}})
    assert used_checkers(named) == ["exact", "tags", "math"]


def test_limits_of_programs_are_those_of_the_code_table() -> None:
    tables = {"sandbox": "unsafe", "timeout_s": 3, "memory_mb": 64, "disk_mb": 2, "output_kb": 8, "partial": True}
    limits = code_limits(Config.model_validate({"model": {"path": "m"}, "data": {"train": "t"}, "code": tables}))
    assert (limits.unsafe, limits.timeout_s, limits.memory_mb, limits.disk_mb, limits.output_kb, limits.partial) == (
        True,
        3.0,
        64,
        2,
        8,
        True,
    )
