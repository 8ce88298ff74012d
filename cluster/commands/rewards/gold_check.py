"""Whether a dataset fits its checkers: every row's own right answer must score 1.

A row that fails would teach that a right answer is wrong, in every epoch of a run.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cluster.commands.rewards.own_gold import with_golds
from cluster.commands.rewards.trials import Tried, judge, trials_of
from configs.arithmetic import counted
from configs.sections.reward import THINKING_MARKS
from reward.checker import Checker
from reward.checkers import CHECKERS, SERVICES, check_reference, checkers_for_data, get_checker
from reward.own.name import is_own
from reward.thinking import answer_of, is_about_marks
from reward.workers.pool import Item, RewardPool
from rollout.data.fields import EVERYTHING
from rollout.data.read import read_rows
from rollout.data.row import Row
from rollout.types import Verdict

RIGHT = 1.0
AT_ONCE = 512  # rows scored between two reports of progress
SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields of a row mean what, and the checker of rows that name none."""

    checker: str
    reference: str
    named_checker: str | None  # field
    solution: str | None  # field; None lets the checker make a right answer from the reference
    prompt: str = "prompt"  # field; for functions of the user's


@dataclass(slots=True, kw_only=True)
class Report:
    """The result, row by row."""

    source: str
    rows: int
    passed: int = 0
    without_gold: int = 0
    failed: list[str] = field(default_factory=list)  # a line each: the row and what is wrong
    tried: Tried = field(default_factory=Tried)  # the right answers in other words, and near misses

    @property
    def summary(self) -> str:
        share = 100 * self.passed / max(1, self.rows)
        return (
            f"{counted(self.rows, 'row')} of {self.source}: {self.passed} passed ({share:.2f} %), {len(self.failed)} failed, "
            f"{self.without_gold} {'has' if self.without_gold == 1 else 'have'} no gold answer"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The workers that score, and their limits."""

    workers: int
    timeout_s: float
    memory_mb: int


def check_gold(source: str, split: str, fields: Fields, pool: Pool, limit: int | None, progress: Callable[[int, int], None]) -> Report:
    """Score every row's right answer against the row's own reference; `progress` gets (responses done, responses in all).

    Without a field of solutions, the right answers in other words and near misses of them are scored too.
    ValueError if nothing can be checked at all: no rows, no such field, an unknown checker, a service.
    """
    refuse_checker(fields.checker)
    rows = rows_with(source, split, fields)[:limit]
    report = Report(source=source, rows=len(rows))
    asked: list[tuple[Row, Item]] = []
    for row in rows:
        found = gold_item(row, fields)
        if isinstance(found, Item):
            asked.append((row, found))
        elif found is None:
            report.without_gold += 1
        else:
            report.failed.append(f"{row.where}: {found}")
    near = [(row, item) for row, item in asked if not fields.solution and not is_own(item.checker)]
    trials = [(row, trial) for row, item in near for trial in trials_of(row.where, item, report.tried)]
    everything = [*asked, *((row, trial.item) for row, trial in trials)]
    found_of = asyncio.run(score_all(everything, fields, pool, progress)) if asked else []
    scored = found_of[: len(asked)]
    judge([trial for _, trial in trials], [found[1] for found in found_of[len(asked) :] if found], report.tried)
    report.without_gold += sum(found is None for found in scored)
    if report.without_gold == len(rows):
        raise ValueError(
            f"none of the {len(rows)} rows of {source} has a gold answer, so nothing was checked: the checker makes none from a "
            "reference; name the field of a right response with --solution-field"
        )
    for (row, _), judged in zip(asked, scored, strict=True):
        if judged is not None and judged[1].reward is not None and judged[1].reward >= RIGHT:
            report.passed += 1
        elif judged is not None:
            report.failed.append(f"{row.where}: {explain(*judged)}")
    return report


def rows_with(source: str, split: str, fields: Fields) -> list[Row]:
    """The rows with these fields; ValueError where no row has one that is needed."""
    wanted = [name for name in (fields.reference, fields.named_checker, fields.solution) if name]
    if is_own(fields.checker):
        wanted += [fields.prompt, EVERYTHING]  # it may ask for any column
    rows = read_rows(source, split, (), wanted)
    for option, name in (("--reference-field", fields.reference), ("--solution-field", fields.solution)):
        if name and all(row.values.get(name) is None for row in rows):
            there = ", ".join(f'"{key}"' for key in rows[0].names) or "none of those asked for"
            raise ValueError(f'{option} got "{name}", but no row of {source} has it; the first has {there}: name the right one')
    return rows


def gold_item(row: Row, fields: Fields) -> Item | str | None:
    """The row's right answer to score, or what is wrong with the row, or None if it has no right answer."""
    reference, name = row.values.get(fields.reference), fields.checker
    if fields.named_checker and row.values.get(fields.named_checker) is not None:
        name = row.values[fields.named_checker]
        if not isinstance(name, str) or (name not in checkers_for_data(fields.checker)):
            known = ", ".join(sorted({*CHECKERS, fields.checker}))
            return f"names checker {name!r}, needed one of {known}: data may not name other code; correct the row, or give --checker"
    refuse_checker(name)
    if reference is None:
        return f'has no value for field "{fields.reference}"'
    try:
        check_reference(name, reference)
        solution = row.values.get(fields.solution) if fields.solution else None if is_own(name) else known_checker(name).gold(reference)
    except ValueError as error:
        return str(error)
    if solution is None:  # a function of the user's makes one in a worker
        return Item(checker=name, response="", reference=reference, of_reference=True) if is_own(name) else None
    if isinstance(solution, int | float) and not isinstance(solution, bool):
        solution = str(solution)
    if not isinstance(solution, str):
        return f'has {shorten(solution)} in field "{fields.solution}": a response is a text'
    return item_of(name, solution, reference)


def item_of(checker: str, solution: str, reference: Any) -> Item | str:
    """What a checker sees of a right answer, as in a run: without thoughts; or what is wrong with it."""
    answer = solution if is_about_marks(checker, reference, THINKING_MARKS) else answer_of(solution, THINKING_MARKS)
    if answer is None:
        return (
            f"has a right answer that opens a thought ({THINKING_MARKS[0]}) and never ends it, so it answers nothing: {shorten(solution)}"
        )
    return Item(checker=checker, response=answer, reference=reference)


def refuse_checker(name: str) -> None:
    """Raise ValueError where a checker is unknown, or a service, which cannot be asked here."""
    if name in SERVICES:
        raise ValueError(
            f"checker {name!r} is a service that a run asks over the network, with the settings of its config: `rewards check` scores "
            "with local checkers only; leave out those rows"
        )
    known_checker(name)


@cache
def known_checker(name: str) -> Checker:
    return get_checker(name)


async def score_all(
    asked: Sequence[tuple[Row, Item]], fields: Fields, pool: Pool, progress: Callable[[int, int], None]
) -> list[tuple[Item, Verdict] | None]:
    """What was scored of each row with its verdict, in their order; None where a function of the user's makes no right answer."""
    found: list[tuple[Item, Verdict] | None] = []
    counts = Counter(item.checker for _, item in asked)
    async with RewardPool(workers=pool.workers, timeout_s=pool.timeout_s, memory_mb=pool.memory_mb, warm=sorted(counts)) as workers:
        for start in range(0, len(asked), AT_ONCE):
            ready = await with_golds(workers, asked[start : start + AT_ONCE], fields.prompt)
            verdicts = iter(await workers.score([item for item, refused in ready if item is not None and refused is None]))
            found += [None if item is None else (item, refused or next(verdicts)) for item, refused in ready]
            progress(len(found), len(asked))
    return found


def explain(item: Item, verdict: Verdict) -> str:
    """Why a row does not pass, with what was compared."""
    what = verdict.failure or f"reward {verdict.reward:g}"
    right = [turn.said for turn in item.transcript.turns] if item.transcript else item.response
    return f"{item.checker}: {what}; reference {shorten(item.reference)}, right answer {shorten(right)}"


def shorten(value: Any) -> str:
    """The end of a value, where answers are, on one line."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"…{text[-SHOWN_CHARS:]}"
