"""The schema of a function is transformers' own, and what no schema describes is refused with what to do."""

from collections.abc import Callable
from typing import Any, Literal, Optional, Union

import pytest
from transformers.utils import get_json_schema

from reward.own.name import OwnCodeError
from reward.own.tool_schema import schema_of


def plain(query: str, most: int = 3, exact: bool = False) -> str:
    """Find passages.

    Args:
        query: the words to look for,
            also on a second line
        most: how many
        exact: whether case counts

    Returns:
        the passages
    """


def kinds(
    a: float,
    b: list[str],
    c: dict[str, int],
    d: tuple[int, str],
    e: int | None,
    f: Optional[list[int]],  # noqa: UP045
    g: Union[int, str],  # noqa: UP007
    h: Literal["x", "y"],
    i: Any,
    j: list,
    k: dict,
    l: int | list[str] | None = None,  # noqa: E741
    m: Literal[1, "x", None] = None,
    *,
    n: "str",
) -> dict[str, list[int]]:
    """Do many things: carefully.
    On two lines.

    And a paragraph.

    Args:
        a: one
        b: two (choices: ["tea", "coffee"])
        c: three: with a colon
        d: four

        e: five
        f: six
        g: seven
        h: eight
        i: nine
        j: ten
        k: eleven
        l: twelve
        m: thirteen
        n: fourteen

    Raises:
        ValueError: sometimes
    """


async def later(x: int):
    """Wait.

    Args:
        x: how long
    """


def nothing() -> None:
    """What time it is."""


def choices(x: str) -> str:
    """Choose. Returns: what was chosen

    Args:
        x: one of them (Choices: ["a ", "b"])
    Returns:
        it
    """


class Shop:
    def price(self, item: str) -> float:
        """The price of an item.

        Args:
            item: its name
        """


@pytest.mark.parametrize("function", [plain, kinds, later, nothing, choices, Shop().price, Shop.price])
def test_the_schema_is_the_one_of_transformers(function: Callable[..., object]) -> None:
    assert schema_of("m:f", function) == get_json_schema(function)


def undocumented(x: int): ...


def without_arguments(x: int):
    """Does something."""


def half(x: int, y: int):
    """Does something.

    Args:
        x: a number
    """


def untyped(x, y: int = 0):
    """Does something.

    Args:
        x: a number
        y: another
    """


def many(*numbers: int):
    """Does something.

    Args:
        numbers: them
    """


def options(**numbers: int):
    """Does something.

    Args:
        numbers: them
    """


def by_place(x: int, /):
    """Does something.

    Args:
        x: it
    """


def unknown_type(x: Shop):
    """Does something.

    Args:
        x: it
    """


def a_set(x: set[int]):
    """Does something.

    Args:
        x: it
    """


def open_tuple(x: tuple[int, ...]):
    """Does something.

    Args:
        x: it
    """


def nowhere(x: "Nowhere"):  # noqa: F821
    """Does something.

    Args:
        x: it
    """


def bad_choices(x: str):
    """Does something.

    Args:
        x: it (choices: a, b)
    """


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (undocumented, "no docstring"),
        (without_arguments, "does not describe the argument 'x'"),
        (half, "does not describe the argument 'y'"),
        (untyped, "'x' has no type"),
        (many, "takes *numbers: int"),
        (options, "takes **numbers: int"),
        (by_place, "remove the `/`"),
        (unknown_type, "has the type Shop"),
        (a_set, "has the type set[int]"),
        (open_tuple, "has the type tuple[int, ...]"),
        (nowhere, "cannot be found"),
        (bad_choices, "must be a JSON list"),
        (lambda x: x, "no name that a model can call"),
    ],
)
def test_what_no_schema_describes_is_refused(function: Callable[..., object], why: str) -> None:
    with pytest.raises(OwnCodeError, match=r"tool 'm:f'") as raised:
        schema_of("m:f", function)
    assert why in str(raised.value)
