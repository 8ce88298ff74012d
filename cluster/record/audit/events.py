"""Events: attempts, deaths, restarts and retries, counted, and whether each belongs to an attempt."""

from collections import Counter
from collections.abc import Iterator

from cluster.record.audit.account import Account
from cluster.record.audit.invariant import Invariant


def check_events(account: Account) -> Invariant:
    """Whether attempts follow each other without a gap, and every replaced engine has a witness of what happened to it."""
    found = Invariant(name="events", claim="attempts follow each other, and every replaced engine has a witness")
    found.check_all(len(account.attempts), _wrong_attempts(account))
    known = {attempt.attempt for attempt in account.attempts}
    found.check_all(len(account.events), (f"{kind} of {who} belongs to no attempt" for at, kind, who in account.events if at not in known))
    lives = {(row.engine, row.life) for row in account.publishes if row.life > 0}
    witnesses = Counter(who for _, _, who in account.events)
    for engine, life in sorted(lives):
        name = f"engine {engine}"
        found.check(witnesses[name] >= life, f"{name} was replaced {life} times, and the ledger has {witnesses[name]} events of it")
    kinds = Counter(kind for _, kind, _ in account.events)
    retries = sum(row.tries - 1 for row in account.groups)
    undone = sum(row.undone for row in account.steps)
    found.found = {"attempts": len(account.attempts), "undone steps": undone, "retried groups": retries, **dict(sorted(kinds.items()))}
    return found


def _wrong_attempts(account: Account) -> Iterator[str]:
    numbers = [attempt.attempt for attempt in account.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"attempts are numbered {', '.join(map(str, numbers))}"
    done = account.begins[0]
    for attempt in account.attempts:
        if attempt.from_step > done:
            yield f"attempt {attempt.attempt} continues after step {attempt.from_step}, and only {done} steps were learned before"
        done = max(done, *(row.step for row in account.steps if row.attempt == attempt.attempt), 0)
    tables = (("groups", account.groups), ("steps", account.steps), ("publishes", account.publishes))
    for name, rows in tables:
        for unknown in sorted({row.attempt for row in rows} - set(numbers)):
            yield f"the ledger has {name} of attempt {unknown}, which never began"
