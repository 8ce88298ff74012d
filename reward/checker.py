"""What a checker is: a pure function that says how right a response is, with what must be known around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reward.programs.limits import CodeLimits

Score = Callable[[str, Any], float]
Reference = Any  # a JSON value


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """One entry of the table in `reward.checkers`.

    `score` is `(response, reference) -> reward`, 1.0 for right and 0.0 for wrong, anything between for partly right. It needs no time limit
    of its own and may raise: `reward.workers.pool` turns what goes wrong into a typed outcome. A response it cannot make sense of is wrong
    (0.0), a reference it cannot make sense of is a ValueError.
    """

    score: Score
    check_reference: Callable[[Reference], object]  # ValueError where no response could be compared with it; imports nothing heavy in vain
    gold: Callable[[Reference], str | None]  # a response that must score 1.0; None where the reference alone does not give one
    load: Callable[[CodeLimits], Score] | None = None  # makes a `score` of these limits that belongs to one process, where it needs that
    warm_up: Sequence[tuple[str, Reference]] = ()  # make the checker import, compile and cache what it needs, before a deadline counts
    rehearsal: tuple[str, Reference] | None = None  # another such pair, for every worker that is forked where the first was scored: the
    # pages that scoring writes to become its own, and no cache knows the answer
