"""The further responses that a row's checker must judge rightly: its right answer in other words, and near misses of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from configs.arithmetic import counted
from reward.checkers import get_checker
from reward.workers.pool import Item
from rollout.types import Verdict

RIGHT, WRONG = 1.0, 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One response with the reward that it must get."""

    where: str  # the row
    item: Item
    wanted: float


@dataclass(slots=True, kw_only=True)
class Tried:
    """The outcome of the trials of a whole data set."""

    golds: int = 0  # right answers that were tried in other words
    wordings: int = 0
    misses: int = 0
    refused: list[str] = field(default_factory=list)  # a line each: other words that do not get the full reward
    refused_rows: set[str] = field(default_factory=set)
    accepted: list[str] = field(default_factory=list)  # a line each: near misses that get a reward
    not_understood: list[str] = field(default_factory=list)  # a line each: the row and the reason

    @property
    def summary(self) -> str:
        return (
            f"in other words: {self.golds - len(self.refused_rows)} of {counted(self.golds, 'right answer')} passed "
            f"({counted(self.wordings, 'wording')}); {len(self.accepted)} of {self.misses} near misses accepted; "
            f"{counted(len(self.not_understood), 'reference')} not understood whole"
        )


def trials_of(where: str, gold: Item, tried: Tried) -> list[Trial]:
    """The trials of one row; a reference that is not understood whole is noted in `tried`."""
    checker = get_checker(gold.checker)
    if reason := checker.not_understood(gold.reference):
        tried.not_understood.append(f"{where}: {gold.checker}: {reason}; it is compared as text: reference {gold.reference!r:.200}")
    wordings, misses = checker.other_words(gold.reference), checker.near_misses(gold.reference)
    tried.golds += bool(wordings)
    tried.wordings += len(wordings)
    tried.misses += len(misses)
    pairs = [*((text, RIGHT) for text in wordings), *((text, WRONG) for text in misses)]
    return [
        Trial(where=where, item=Item(checker=gold.checker, response=text, reference=gold.reference), wanted=wanted)
        for text, wanted in pairs
    ]


def judge(trials: Sequence[Trial], verdicts: Sequence[Verdict], tried: Tried) -> None:
    """Note the trials that did not get the reward that they must get."""
    for trial, verdict in zip(trials, verdicts, strict=True):
        if verdict.reward == trial.wanted:
            continue
        what = verdict.failure or f"reward {verdict.reward:g}"
        line = (
            f"{trial.where}: {trial.item.checker}: {what}; reference {trial.item.reference!r:.200}, response {trial.item.response!r:.200}"
        )
        if trial.wanted == RIGHT:
            tried.refused.append(line)
            tried.refused_rows.add(trial.where)
        else:
            tried.accepted.append(line)
