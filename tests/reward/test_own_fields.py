"""A function of the user's gets what its signature asks for; one of (response, reference) is called as ever."""

import asyncio
import json
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

from reward.asked import Asked, Wants
from reward.own.awaited import Loop
from reward.own.brought import brought_by, gold_of
from reward.own.name import OwnCodeError
from reward.own.signature import FIELDS, call_of
from reward.workers.task_queue import as_json
from reward.workers.tasks import Item
from rollout.seeds import derive_seed, seed_of_response

GIVEN = {name: name.upper() for name in FIELDS}


def by_kw(response: str, *, row: Any, seed: Any = 0) -> Any:
    return response, row, seed


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inside(*places: Any, **names: Any) -> Any:
        return function(*places, **names)

    return inside


def names_only(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inside(**names: Any) -> Any:
        return function(**names)

    return inside


def injects(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inside(response: str, row: Any) -> Any:
        return function("MODEL", response, row)

    return inside


class Scorer:
    def __call__(self, response: str, group: Any) -> Any:
        return response, group

    def method(self, text: str, truth: Any, tokens: Any) -> Any:
        return text, truth, tokens

    @staticmethod
    def static(text: str, truth: Any) -> Any:
        return text, truth


def three(weight: Any, response: str, reference: Any) -> Any:
    return weight, response, reference


def many(*places: Any) -> Any:
    return places


def some(text: Any, *rest: Any, **options: Any) -> Any:
    return (text, *rest, options)


def positional(text: Any, extra: Any = 1, row: Any = None, /) -> Any:
    return text, extra, row


def gap(response: Any, row: Any, strict: Any = True, seed: Any = None) -> Any:
    return response, row, strict, seed


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], list[str]]] = [
    # functions of two parameters, whatever the names: by place, as ever
    (lambda a, b: (a, b), ("RESPONSE", "REFERENCE"), []),
    (lambda a, b=None, *rest, **options: (a, b, rest, options), ("RESPONSE", "REFERENCE", (), {}), []),
    (lambda solution_str, ground_truth, extra_info=None: (solution_str, ground_truth, extra_info), ("RESPONSE", "REFERENCE", None), []),
    (many, ("RESPONSE", "REFERENCE"), []),
    (some, ("RESPONSE", "REFERENCE", {}), []),
    (Scorer.static, ("RESPONSE", "REFERENCE"), []),
    (partial(three, 0.5), (0.5, "RESPONSE", "REFERENCE"), []),
    # by name
    (partial(three, weight=0.5), (0.5, "RESPONSE", "REFERENCE"), []),
    (lambda reference, response: (reference, response), ("REFERENCE", "RESPONSE"), []),
    (lambda response, group: (response, group), ("RESPONSE", "GROUP"), ["group"]),
    (lambda text: text, "RESPONSE", []),  # type: ignore[list-item]
    (lambda text, row: (text, row), ("RESPONSE", "ROW"), ["row"]),
    (lambda prompt, text, truth: (prompt, text, truth), ("PROMPT", "RESPONSE", "REFERENCE"), ["prompt"]),
    (lambda tokens, limit=100: (tokens, limit), ("TOKENS", 100), ["tokens"]),
    (lambda group, index, truncated, question: (group, index, truncated, question), ("GROUP", "INDEX", "TRUNCATED", "QUESTION"),
     ["question", "truncated", "group", "index"]),
    (by_kw, ("RESPONSE", "ROW", "SEED"), ["row", "seed"]),
    (partial(by_kw, seed=7), ("RESPONSE", "ROW", 7), ["row"]),
    (gap, ("RESPONSE", "ROW", True, "SEED"), ["row", "seed"]),
    (positional, ("RESPONSE", "REFERENCE", "ROW"), ["row"]),
    (Scorer(), ("RESPONSE", "GROUP"), ["group"]),
    (Scorer().method, ("RESPONSE", "REFERENCE", "TOKENS"), ["tokens"]),
    (passing_on(by_kw), ("RESPONSE", "ROW", "SEED"), ["row", "seed"]),
    (names_only(gap), ("RESPONSE", "ROW", True, "SEED"), ["row", "seed"]),
    (injects(lambda model, response, row: (model, response, row)), ("MODEL", "RESPONSE", "ROW"), ["row"]),
    (max, "RESPONSE", []),  # type: ignore[list-item]  # written in C, without a signature
]  # fmt: skip


@pytest.mark.parametrize(("function", "got", "asks"), CALLS)
def test_each_parameter_gets_the_field_of_its_name(function: Callable[..., Any], got: Any, asks: list[str]) -> None:
    call = call_of("mine.py:score", function)
    assert (call.make(function, GIVEN), call.asks) == (got, asks)


def test_a_parameter_that_no_field_has_the_name_of_is_refused_with_what_there_is() -> None:
    with pytest.raises(OwnCodeError, match=r"^checker 'm:f' takes \(completions, answer, level\), but no field is called 'level'; a func"):
        call_of("m:f", lambda completions, answer, level: 1)
    with pytest.raises(OwnCodeError, match=r"prompt, question, row, tokens, truncated, group, index, seed .*: rename it"):
        call_of("m:f", lambda response, reference, completion_ids: 1)


def test_a_result_that_must_be_awaited_is_and_the_loop_stays_open() -> None:
    loop, seen = Loop(), []

    async def score() -> float:
        seen.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 0.5

    assert [loop.result(score()), loop.result(score()), loop.result(1.0)] == [0.5, 0.5, 1.0]
    assert seen[0] is seen[1], "a client that the first call opened is usable in the second"
    loop.close()
    assert loop.result(score()) == 0.5
    loop.close()


def test_what_a_function_brings_is_used_as_the_checkers_of_ours_are() -> None:
    def score(response: str, reference: Any) -> float:
        return float(response == reference["right"])

    assert [gold_of(brought_by("m:f", score), value, Loop().result) for value in ("4", 4.5, True, [4])] == ["4", "4.5", None, None]
    score.gold = lambda reference: reference["right"]  # type: ignore[attr-defined]
    score.check_reference = lambda reference: reference["right"]  # type: ignore[attr-defined]
    brought = brought_by("m:f", passing_on(score))
    assert gold_of(brought, {"right": "4"}, Loop().result) == "4"
    assert gold_of(brought, {"right": None}, Loop().result) is None
    with pytest.raises(KeyError):
        gold_of(brought, {}, Loop().result)
    with pytest.raises(TypeError, match="gold returned int, needed a text, or None"):
        gold_of(brought, {"right": 4}, Loop().result)


def test_only_what_is_asked_for_is_sent_and_a_group_is_written_once() -> None:
    group, groups = ("a", 'b"'), dict[int, str]()
    asked = Asked(checker="m:f", response="a", reference=4, tokens=3, group=group, index=1, seed=9, columns={"level": "hard"})
    item = Item(checker="m:f", response="a", reference=4, fields=asked.fields, group=group)

    def sent(asks: list[str] | None) -> Any:
        return json.loads("".join(as_json(item, asks, groups)))

    assert sent([]) == ["m:f", "a", 4], "as ever where nothing is asked for"
    assert sent(["row", "seed"]) == ["m:f", "a", 4, {"row": {"level": "hard"}, "seed": 9}]
    assert sent(["group"]) == ["m:f", "a", 4, {"group": [*group]}]
    assert sent(["index", "group"]) == ["m:f", "a", 4, {"index": 1, "group": [*group]}]
    assert sent(None)[3] == {**asked.fields, "group": [*group]}, "all of it where nobody knows yet"
    assert as_json(item, ["group"], groups)[1] is as_json(item, ["group", "seed"], groups)[1]


def test_wants_of_a_row_are_those_of_its_checker_and_of_every_part() -> None:
    wants = Wants(by_checker={"m:f": ["row"], "m:part": ["group"], "m:other": ["seed"]}, always=("m:part", "length"))
    assert sorted(wants.of("m:f")) == ["group", "row"]
    assert sorted(wants.of("math")) == ["group"]


def test_the_seed_of_a_response_is_that_of_its_request() -> None:
    assert seed_of_response(7, 3, 1) == derive_seed(7, 3, 1, 0)
    assert seed_of_response(7, 3, 1, evaluated=True) == derive_seed(7, 3, 1, 1)


def test_what_a_function_brings_may_be_async_and_says_no_by_an_error() -> None:
    async def gold(reference: str) -> str:
        return reference

    async def refuses(reference: str) -> None:
        raise ValueError(f"{reference} is too long")

    loop = Loop()
    try:
        assert gold_of({"gold": gold}, "4", loop.result) == "4"
        with pytest.raises(ValueError, match="4 is too long"):
            gold_of({"check_reference": refuses}, "4", loop.result)
    finally:
        loop.close()
    with pytest.raises(ValueError, match="returned False: raise an error"):
        gold_of({"check_reference": lambda reference: False}, "4", loop.result)
