"""The responses of a run that a report can show: those of `responses/` and those of its capsules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.record.capsules.read import Capsule, CapsuleGroup, NoCapsule, read_capsule
from cluster.report.files import RunFiles
from cluster.report.lines import Row, read_rows

MOST_ROWS = 20_000  # of a run; of a longer one every n-th step is shown
MOST_OF_A_CAPSULE = 512  # responses; whole groups, those of `responses/` first
LEARNED = "SELECT group_id, engine, oldest_version, newest_version FROM groups WHERE outcome = 'learned'"


@dataclass(slots=True, kw_only=True)
class Kept:
    """What a run's files have of its responses."""

    rows: list[tuple[int, Row]] = field(default_factory=list)  # with their steps, in rising order
    capsules: list[Capsule] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is not shown, and where it is
    groups: dict[object, Row] = field(default_factory=dict)  # the ledger's rows by group


def keep(run: RunFiles) -> Kept:
    """Read the responses of a run; files that are damaged are named and left out."""
    kept = Kept()
    steps = thin(run.texts(), kept.notes)
    rows = {step: read_rows(path) for step, path in steps}
    for folder in run.capsules:
        try:
            kept.capsules.append(read_capsule(folder))
        except NoCapsule as error:
            kept.notes.append(str(error))
    for capsule in kept.capsules:
        rows[capsule.step] = [*rows.get(capsule.step, []), *of_capsule(capsule, rows.get(capsule.step, []))]
    kept.rows = [(step, row) for step in sorted(rows) for row in rows[step]]
    kept.groups = {row["group_id"]: row for row in run.ledger(LEARNED)} if kept.rows else {}
    return kept


def thin(steps: Sequence[tuple[int, Path]], notes: list[str], most: int = MOST_ROWS) -> Sequence[tuple[int, Path]]:
    """As many steps as have `most` rows together, evenly spread, the first and the last among them."""
    if not steps:
        return steps
    largest = max((path for _, path in steps[:: max(1, len(steps) // 20)]), key=size_of)
    fit = max(2, most // max(1, len(read_rows(largest))))
    if len(steps) <= fit:
        return steps
    places = sorted({round(i * (len(steps) - 1) / (fit - 1)) for i in range(fit)})
    notes.append(f"This page has {len(places)} of the {len(steps)} steps with responses, evenly spread. All of them are in responses/.")
    return [steps[place] for place in places]


def size_of(path: Path) -> int:
    """Bytes of a file, 0 where it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def name_of(row: Row) -> tuple[object, object]:
    """Group and member of a row; None for what is no name, as damaged rows may have it."""
    group, member = (value if isinstance(value, int | str) else None for value in (row.get("group"), row.get("member")))
    return group, member


def of_capsule(capsule: Capsule, known: Sequence[Row]) -> Iterator[Row]:
    """Responses of a capsule that `known` lacks: first those whose group has some, so that these groups are whole."""
    there = set(map(name_of, known))
    begun = {group for group, _ in there}
    left = MOST_OF_A_CAPSULE
    for group in sorted(capsule.groups, key=lambda group: group.group_id not in begun):
        for row in whole_group(group):
            if left and name_of(row) not in there:
                left -= 1
                yield row


def whole_group(group: CapsuleGroup) -> Iterator[Row]:
    """Every response of a group of a capsule, as a line of `responses/` has it."""
    numbers = {
        "group_rewards": list(group.rewards),
        "group_advantages": list(group.advantages),
        "group_tokens": group.summary.sampled.tolist(),
    }
    for place, member in enumerate(group.members or ()):
        yield {**member.line, "group": group.group_id, "member": place, "advantage": group.advantages[place], **numbers}
