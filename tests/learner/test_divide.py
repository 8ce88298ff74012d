"""Rows are divided over ranks and micro-batches; groups stay together where their prompts are worth it."""

from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from learner.batch.divide import WORTH, computed, divide, fullest
from learner.batch.row import MicroBatch, Row


def row(group: int, member: int, prompt: int, response: int, segment: int = 0) -> Row:
    return Row(
        group=group, member=member, advantage=1.0, weight=1.0, prompt_tokens=prompt, tokens=prompt + response, segment=segment
    )  # fmt: skip


def group(number: int, prompt: int, responses: list[int]) -> list[Row]:
    return [row(number, i, prompt, response) for i, response in enumerate(responses)]


def divisions(micro_batches: tuple[tuple[MicroBatch, ...], ...]) -> list[Row]:
    return sorted(chain.from_iterable(chain.from_iterable(micro_batches)))


GROUPS = st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(1, 20), min_size=1, max_size=6)), min_size=1, max_size=8)


@given(groups=GROUPS, ranks=st.integers(1, 4), budget=st.integers(60, 200), packed=st.booleans(), shared=st.booleans())
@settings(deadline=None, max_examples=60)
def test_every_row_is_in_one_micro_batch_within_the_budget(
    groups: list[tuple[int, list[int]]], ranks: int, budget: int, packed: bool, shared: bool
) -> None:
    rows = [one for number, (prompt, responses) in enumerate(groups) for one in group(number, prompt, responses)]
    found = divide(rows, ranks, budget, packed=packed, shared=shared)
    assert divisions(found) == sorted(rows)
    assert len(found) == ranks
    assert len({len(of_rank) for of_rank in found}) == 1
    for cut in filter(None, chain.from_iterable(found)):
        longest = max(r.prompt_tokens for r in cut) + max(r.tokens - r.prompt_tokens for r in cut)
        assert (sum(r.tokens for r in cut) if packed else len(cut) * longest) <= budget
    assert not packed or fullest(list(found)) <= fullest(list(divide(rows, ranks, budget, packed=True)))
    assert found == divide(list(reversed(rows)), ranks, budget, packed=packed, shared=shared)
    other = divide(rows, ranks, budget, packed=not packed, shared=shared)
    assert [sorted(chain.from_iterable(of_rank)) for of_rank in found] == [sorted(chain.from_iterable(of_rank)) for of_rank in other]


def test_long_prompts_keep_their_group_together() -> None:
    rows = [one for number in range(4) for one in group(number, 100, [5, 10 + number, 20, 40])]
    by_length = divide(rows, 2, 600, packed=True)
    by_group = divide(rows, 2, 600, packed=True, shared=True)
    assert all(len({r.group for r in cut}) == 1 for cut in chain.from_iterable(by_group))
    assert fullest(list(by_group)) == 2 * 175 + 3  # groups 3 and 0, or 2 and 1: prompts, responses, and what number adds
    assert fullest(list(by_length)) > 2 * fullest(list(by_group)) / (1 + WORTH)


def test_short_prompts_leave_rows_in_the_order_of_their_length() -> None:
    rows = [one for number in range(4) for one in group(number, 1, [50, 60, 70, 80])]
    assert divide(rows, 2, 200, packed=True, shared=True) == divide(rows, 2, 200, packed=True)


def test_a_segment_after_a_rewrite_has_a_prompt_of_its_own() -> None:
    rows = [row(0, 0, 10, 1), row(0, 1, 10, 2), row(0, 1, 30, 3, segment=1)]
    assert computed(rows) == 10 + 1 + 2 + 30 + 3
