"""Every prompt that was handed out is learned, rejected, undone and handed out again, or in flight; and none twice."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from cluster.record.audit.account import Account, Attempt, GroupRow
from cluster.record.audit.invariant import Invariant

LISTED = 1000


def check_conservation(account: Account) -> Invariant:
    """Whether every group is accounted for, and as many are in flight as the window holds."""
    found = Invariant(name="conservation", claim="every prompt handed out is learned, rejected, undone or in flight")
    last = account.last
    if last is None:
        return found
    rows = by_group(account)
    in_flight = {row.group_id for row in account.groups if row.outcome == "submitted" and row.attempt == last.attempt}
    waiting = _waiting(account, last, in_flight)
    top = max([last.next_group or 0, *(row.group_id + 1 for row in account.groups if row.attempt == last.attempt or row.stands)])
    accounted = in_flight | waiting | account.begins[1] | {row.group_id for row in account.groups if row.stands}
    found.check_all(top, _lost(accounted, top, rows))
    left = [row for row in account.groups if row.outcome == "submitted" and row.attempt != last.attempt]
    found.violations += [f"group {row.group_id} is still in flight in attempt {row.attempt}, which has ended" for row in left]
    undone = [row for row in account.groups if row.outcome == "undone" and row.attempt == last.attempt]
    found.violations += [f"group {row.group_id} is undone in attempt {row.attempt}, which nothing has undone" for row in undone]
    settings = account.settings[last.attempt]
    if settings is not None:
        most = settings.most_in_flight
        found.check(len(in_flight) <= most, f"{len(in_flight)} groups are in flight in attempt {last.attempt}, and its window holds {most}")
    handed: dict[int, list[int]] = {}
    for row in account.groups:
        handed.setdefault(row.attempt, []).append(row.group_id)
    for attempt in account.attempts:
        found.check_all(1, _out_of_order(attempt, handed.pop(attempt.attempt, [])))
    found.violations += [f"attempt {attempt} handed out {len(groups)} groups and never began" for attempt, groups in handed.items()]
    if account.older:
        found.unchecked.append(
            f"{named_attempts(account.older)}: an older version recorded no positions, so pending groups were not compared"
        )
    outcomes = ("learned", "rejected", "undone")
    found.found = {name: sum(row.outcome == name for row in account.groups) for name in outcomes} | {"in flight": len(in_flight)}
    return found


def by_group(account: Account) -> dict[int, list[GroupRow]]:
    """The rows of every group, in the order of attempts."""
    found: dict[int, list[GroupRow]] = {}
    for row in account.groups:
        found.setdefault(row.group_id, []).append(row)
    return found


def named_attempts(attempts: Sequence[int]) -> str:
    """The attempts in words: "attempt 3", "attempts 1, 2"."""
    return f"attempt{'s' if len(attempts) > 1 else ''} {', '.join(map(str, attempts))}"


def _waiting(account: Account, last: Attempt, in_flight: set[int]) -> set[int]:
    """Groups that the newest attempt has still to hand out again. An older version does not say which, so all that are undone count."""
    if last.pending is not None:
        return set(last.pending)
    return {row.group_id for row in account.groups if row.outcome == "undone"} - in_flight


def _lost(accounted: set[int], top: int, rows: Mapping[int, Sequence[GroupRow]]) -> Iterator[str]:
    """The groups below `top` that are in no account; a long run of them in one line."""
    for before, after in pairwise([-1, *sorted(group for group in accounted if 0 <= group < top), top]):
        lost = range(before + 1, after)
        if len(lost) > LISTED:
            yield f"groups {lost[0]} to {lost[-1]} are lost: they are neither learned, rejected, in flight nor waiting"
            continue
        for group in lost:
            handed = rows.get(group, ())
            where = f"was handed out in attempt {handed[-1].attempt} and is lost" if handed else "was never handed out"
            yield f"group {group} {where}: it is neither learned, rejected, in flight nor waiting"


def _out_of_order(attempt: Attempt, handed: Sequence[int]) -> Iterator[str]:
    """What an attempt handed out beside its pending groups and the next numbers, in their order."""
    if attempt.next_group is None or attempt.pending is None:
        return
    fresh = [group for group in handed if group >= attempt.next_group]
    for group in handed:
        if group < attempt.next_group and group not in attempt.pending:
            yield f"group {group} was handed out in attempt {attempt.attempt}, though it was settled before"
    for before, after in pairwise([attempt.next_group - 1, *fresh]):
        if after != before + 1:
            yield f"attempt {attempt.attempt} handed out group {after} without group {before + 1}"
    if fresh and (left := sorted(attempt.pending - set(handed))):
        yield f"attempt {attempt.attempt} handed out group {fresh[0]} before group {left[0]}, which was pending"
