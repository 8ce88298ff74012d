"""Which responses a pattern accepts, case by case, and what becomes of a pattern that never ends."""

import asyncio

import pytest

from reward.checkers import check_reference, get_checker
from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome, Verdict

regex = get_checker("regex").score


@pytest.mark.parametrize(
    ("response", "reference", "reward"),
    [
        ("the answer is 42.", r"\d+", 1.0),
        ("the answer is seven", r"\d+", 0.0),
        ("", r"^$", 1.0),
        ("Yes", "yes", 0.0),
        ("Yes", {"pattern": "yes", "flags": "i"}, 1.0),
        ("a\nb", {"pattern": "^b$"}, 0.0),
        ("a\nb", {"pattern": "^b$", "flags": "m"}, 1.0),
        ("a\nb", {"pattern": "a.b", "flags": "s"}, 1.0),
        ("ab", {"pattern": "a b # both", "flags": "x"}, 1.0),
        ("\u0664", {"pattern": r"\d", "flags": "a"}, 0.0),
        ("42", {"pattern": r"\d", "where": "fullmatch"}, 0.0),
        ("42", {"pattern": r"4|42", "where": "fullmatch"}, 1.0),
        ("42\n", {"pattern": r"\d+$", "where": "fullmatch"}, 0.0),
        ("so 42", {"pattern": r"\d+", "where": "start"}, 0.0),
        ("42 so", {"pattern": r"\d+", "where": "start"}, 1.0),
        ("42 so", {"pattern": r"\d+", "where": "end"}, 0.0),
        ("so 42", {"pattern": r"\d+", "where": "end"}, 1.0),
        ("so 42\n", {"pattern": r"\d+", "where": "end"}, 0.0),
        ("ab", {"pattern": "a|ab", "where": "end"}, 1.0),
        ("AB", {"pattern": "(?i)a|b", "where": "end"}, 1.0),
        ("ab ", {"pattern": "ab # comment", "where": "end", "flags": "x"}, 0.0),
        ("ab", {"pattern": "(?x)ab # comment", "where": "end"}, 1.0),
        ("sorry, no", {"pattern": "sorry", "absent": True}, 0.0),
        ("of course", {"pattern": "sorry", "absent": True}, 1.0),
        ("答案是 42", "答案", 1.0),
        ("\ud800\x00", "\ud800\x00", 1.0),
    ],
)
def test_a_pattern_is_searched_where_it_should_be(response: str, reference: object, reward: float) -> None:
    check_reference("regex", reference)
    assert regex(response, reference) == reward


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("(", "no regular expression: missing .* at character 0"),
        ("ab[c", "at character 2"),
        ("*", "nothing to repeat at character 0"),
        ("a{99999999999}", "cannot be compiled"),
        ("(" * 5000 + ")" * 5000, "cannot be compiled"),
        ("", "must not be empty"),
        (5, "must be a table"),
        (None, "must be a table"),
        ({}, "lacks pattern"),
        ({"pattern": 5}, "pattern must be a text"),
        ({"pattern": "a", "flags": "iq"}, "flags must be letters .* got 'q'"),
        ({"pattern": "a", "where": "middle"}, "where must be one of"),
        ({"pattern": "a", "absent": "yes"}, "absent must be true or false"),
        ({"pattern": "a", "flag": "i"}, "did you mean 'flags'"),
    ],
)
def test_a_reference_that_is_no_pattern_is_refused(reference: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_reference("regex", reference)


def test_patterns_that_never_end_are_ended_by_the_deadline() -> None:
    text = "a" * 60 + "b"
    items = [
        Item(checker="regex", response=text, reference="(a+)+$"),
        Item(checker="json", response=f'"{text}"', reference={"pattern": "(a+)+$"}),
    ]

    async def main() -> list[Verdict]:
        async with RewardPool(workers=1, timeout_s=0.3, memory_mb=1024) as pool:
            return await pool.score(items)

    assert [verdict.outcome for verdict in asyncio.run(main())] == [Outcome.TIMED_OUT, Outcome.TIMED_OUT]
