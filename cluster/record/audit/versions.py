"""Staleness and provenance: which weights sampled what was learned, and whether the engines had the weights that the learner sent."""

from collections.abc import Iterator

from cluster.record.audit.account import Account, GroupRow, PublishRow
from cluster.record.audit.conservation import named_attempts
from cluster.record.audit.invariant import Invariant


def check_staleness(account: Account) -> Invariant:
    """Whether no learned token is older than run.max_staleness of its attempt allows."""
    found = Invariant(name="staleness", claim="no learned token is staler than run.max_staleness of its attempt")
    worst = 0
    for row in account.groups:
        if row.step is None:
            continue
        settings = account.settings.get(row.attempt)
        if row.oldest is None or row.newest is None:
            found.check(False, f"{_named(row)} has no version")
            continue
        stale = row.step - 1 - row.oldest
        worst = max(worst, stale)
        ordered = 0 <= row.oldest <= row.newest <= row.step - 1
        found.check(ordered, f"{_named(row)} has versions {row.oldest} to {row.newest}, which its step cannot have")
        if ordered and settings is not None and stale > settings.max_staleness:
            found.violations.append(
                f"{_named(row)} has tokens of version {row.oldest}: staleness {stale}, and run.max_staleness is {settings.max_staleness}"
            )
    if unknown := [attempt for attempt, settings in account.settings.items() if settings is None]:
        found.unchecked.append(f"{named_attempts(unknown)}: no config says what run.max_staleness was")
    found.found["steps at most"] = worst
    return found


def check_provenance(account: Account) -> Invariant:
    """Whether engines proved what the learner sent, and only served what they had proved."""
    found = Invariant(name="provenance", claim="engines proved the weights that the learner sent, and sampled with no others")
    older = set(account.older)
    if older:
        found.unchecked.append(f"{named_attempts(account.older)}: an older version recorded no publishes")
    found.check_all(len(account.publishes), _wrong_proofs(account))
    steps = [row for row in account.steps if row.attempt not in older]
    found.check_all(len(steps), _wrong_steps(account))
    had = {(row.attempt, row.engine, row.life, row.version) for row in account.publishes}
    had |= {(attempt, row.engine, row.life, row.version) for attempt, rows in _carried_over(account).items() for row in rows}
    for row in account.groups:
        if row.step is None or row.attempt in older or row.oldest is None or row.newest is None:
            continue
        lacking = [version for version in range(row.oldest, row.newest + 1) if (row.attempt, row.engine, row.life or 0, version) not in had]
        engine = f"engine {row.engine}" + (f" (life {row.life})" if row.life else "")
        found.check(not lacking, f"{_named(row)} was sampled by {engine} with version {(lacking or [0])[0]}, which it never proved to have")
    found.found["publishes"] = len({(row.attempt, row.publish) for row in account.publishes})
    return found


def _carried_over(account: Account) -> dict[int, list[PublishRow]]:
    """The last publish before an attempt, if it was of the version with which the attempt begins.

    Engines stay up where only the ranks come back, and have these weights before the ledger opens the attempt.
    """
    found: dict[int, list[PublishRow]] = {}
    newest = {row.attempt: row.publish for row in account.publishes}
    for attempt in account.attempts:
        before = attempt.attempt - 1
        rows = [row for row in account.publishes if row.attempt == before and row.publish == newest[before]] if before in newest else []
        if rows and rows[0].version == attempt.from_step:
            found[attempt.attempt] = rows
    return found


def _wrong_proofs(account: Account) -> Iterator[str]:
    sent: dict[tuple[int, int], tuple[int, str]] = {}
    for row in account.publishes:
        first = sent.setdefault((row.attempt, row.publish), (row.version, row.sent))
        where = f"publish {row.publish} of attempt {row.attempt} (version {row.version})"
        if row.weights != row.sent:
            yield f"{where}: engine {row.engine} proved {row.weights or 'nothing'}, and the learner sent {row.sent}"
        if first != (row.version, row.sent):
            yield f"{where}: engine {row.engine} has version {row.version} of {row.sent}, and others have version {first[0]} of {first[1]}"


def _wrong_steps(account: Account) -> Iterator[str]:
    """Steps whose weights were not published, and attempts that did not begin with the weights that they continue."""
    sent = {(row.attempt, row.version): row.sent for row in account.publishes}  # the newest publish of a version
    carried = {attempt: rows[0].sent for attempt, rows in _carried_over(account).items()}
    older, learned = set(account.older), {(row.attempt, row.step): row.weights for row in account.steps}
    for row in account.steps:
        if row.attempt in older:
            continue
        if (published := sent.get((row.attempt, row.step))) is None:
            yield f"step {row.step} of attempt {row.attempt} stands without a publish of its weights"
        elif published != row.weights:
            yield f"step {row.step} of attempt {row.attempt} has weights {row.weights}, and {published} were published"
    for attempt in account.attempts:
        if attempt.attempt in older or not any(row.attempt == attempt.attempt for row in account.steps):
            continue
        begun = sent.get((attempt.attempt, attempt.from_step), carried.get(attempt.attempt))
        if begun is None:
            yield f"attempt {attempt.attempt} learned without a publish of version {attempt.from_step}, with which it begins"
        before = [weights for (earlier, step), weights in learned.items() if step == attempt.from_step and earlier < attempt.attempt]
        if begun is not None and before and before[-1] not in ("", begun):
            yield (
                f"attempt {attempt.attempt} continues step {attempt.from_step} with weights {begun}, and that step had weights {before[-1]}"
            )


def _named(row: GroupRow) -> str:
    return f"group {row.group_id} of step {row.step} (attempt {row.attempt})"
