"""An environment without a `return` with a number is known before a run."""

import functools
from collections.abc import Callable, Generator
from contextlib import nullcontext
from typing import Any

import pytest

from reward.own.function import OwnFunction, layers
from reward.own.returns import never_returns


def forever(said: str, reference: object) -> Generator[str, str, Any]:
    while True:
        said = yield f"heard {said}"


def only_yields(said: str, reference: object) -> Generator[str, str, Any]:
    yield "once"


def says_none(said: str, reference: object) -> Generator[str, str, Any]:
    said = yield "once"
    if said == reference:
        return None
    return


def with_a_number(said: str, reference: object) -> Generator[str, str, Any]:
    yield "once"
    return 0.0


def of_another(said: str, reference: object) -> Generator[str, str, Any]:
    return (yield from with_a_number(said, reference))


def on_one_way(said: str, reference: object) -> Generator[str, str, Any]:
    while True:
        if said == reference:
            return 1.0
        said = yield "no"


def within_with(said: str, reference: object) -> Generator[str, str, Any]:
    with nullcontext():
        yield "a"
        return 1.0


def in_finally(said: str, reference: object) -> Generator[str, str, Any]:
    try:
        yield "a"
    finally:
        said = ""
    return float(said == reference)


def catches(said: str, reference: object) -> Generator[str, str, Any]:
    try:
        while True:
            yield "more"
    except BaseException:
        return 0.5


def checker(said: str, reference: object) -> float:
    return 1.0


@functools.wraps(forever)
def wrapped(*args: Any) -> Any:
    return forever(*args)


class Objects:
    def __call__(self, said: str, reference: object) -> Generator[str, str, None]:
        yield "a"


@pytest.mark.parametrize(
    ("function", "endless"),
    [
        (forever, True),
        (only_yields, True),
        (says_none, True),
        (wrapped, True),
        (Objects(), True),
        (functools.partial(forever, reference=1), True),
        (with_a_number, False),
        (of_another, False),
        (on_one_way, False),
        (within_with, False),
        (in_finally, False),
        (catches, False),
        (checker, False),
        (functools.partial(with_a_number, reference=1), False),
    ],
)
def test_what_can_return_a_number_is_known(function: Callable[..., object], endless: bool) -> None:
    assert never_returns(layers(function)) is endless


def test_the_owner_of_a_function_hears_of_it() -> None:
    for name, endless in (("tests.reward.test_own_returns:forever", True), ("tests.reward.test_own_returns:catches", False)):
        function = OwnFunction(name)
        function.load()
        assert ("never returns" in function.marks) is endless
