"""What `validate` says of references that a checker does not understand whole."""

import numpy as np
import pytest

from cluster.commands.checks.rows.understood import SAMPLE, describe_not_understood
from rollout.prompts.prompts import PromptSet
from rollout.types import Prompt

ONE = np.array([1], dtype=np.int32)
UNREAD = r"\sum_{k=1}^{n} k^2"


def rows(*references: str, checker: str = "math") -> PromptSet:
    prompts = [
        Prompt(prompt_id=str(i), token_ids=ONE, text="q", checker=checker, reference=reference) for i, reference in enumerate(references)
    ]
    return PromptSet(prompts=prompts, dropped=0, where={str(i): f"line {i + 1}" for i in range(len(references))})


def test_rows_are_counted_with_the_first_and_the_reason() -> None:
    (line,) = describe_not_understood(rows("1", UNREAD, "2", UNREAD))
    assert line.startswith("math: 2 of 4 rows have a reference that is not understood whole, so only the same text is right; ")
    assert "; the first is line 2: " in line
    assert describe_not_understood(rows("1", r"\\frac{1}{2}", "Monday")) == []


@pytest.mark.parametrize("checker", ["exact", "tests.toys.bad_checkers:echo", "judge"])
def test_other_checkers_take_a_reference_as_it_is(checker: str) -> None:
    assert describe_not_understood(rows(UNREAD, checker=checker)) == []


def test_of_many_rows_an_even_sample_is_read() -> None:
    many = rows(*([UNREAD] * (2 * SAMPLE + 1)))
    (line,) = describe_not_understood(many)
    assert f"math: 1334 of 1334 rows looked at, 1 in 3 of {2 * SAMPLE + 1} have a reference" in line
