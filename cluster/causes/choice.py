"""Chooses, among all exceptions that a role printed, the one that a person needs."""

import re
from collections.abc import Iterable, Sequence

from cluster.causes.known import known
from cluster.causes.tracebacks import Chain, Raised, chains

# Exceptions that only say that there was another one.
ECHOES = re.compile(
    r"^(EngineDeadError|CancelledError|KeyboardInterrupt|SystemExit|RayTaskError|ActorDiedError|BrokenProcessPool|EOFError|RoleFailed)\b"
    r"|[Ss]ee (?:root cause|stack trace)|check the stack trace above|Engine core initialization failed|WorkerProc initialization failed"
    r"|^\w+: (?:Call to \w+ method failed: )?cancelled(?: EngineCore .*)?$|^RuntimeError: Executor failed\.$"
)
TELLING = 2  # words that a message needs to explain itself


def choose(own: Sequence[Chain], logged: Sequence[Chain], role: str) -> tuple[Raised, Chain] | None:
    """The exception that is the cause and the chain it stands in; None if there are only echoes.

    What the actor itself raised (`own`) comes before what its log shows, where an older error may have been overcome. In the log the errors
    that ended a process come first. Errors that mostly follow from another member's failure count only if there is nothing else.
    """
    fatal = [chain for chain in logged if any(raised.fatal for raised in chain)]
    loud = [chain for chain in logged if not any(raised.mild for raised in chain)]
    candidates = [[raised for raised in chain if not ECHOES.search(raised.line)] for chain in (*own, *fatal, *loud)]
    whole = [*own, *fatal, *loud]
    found = [(telling(left, role), chain) for left, chain in zip(candidates, whole, strict=True) if left]
    causes = [pair for pair in found if not _is_consequence(pair[0].line, role)]
    return next(iter(causes or found), None)


def telling(chain: Iterable[Raised], role: str) -> Raised:
    """The exception of a chain that explains most: a known cause, else the innermost with a message of several words."""
    members = list(chain)
    by_name = [raised for raised in members if known(raised.line, role)]
    in_words = [raised for raised in members if len(raised.message.split()) >= TELLING and raised.type != "KeyError"]
    return next(iter((*by_name, *in_words, *members)))


def follows_from_another(said: str, role: str) -> bool:
    """Whether an actor's error mostly follows from the failure of another member of an exchange."""
    chosen = choose(chains(said), [], role)
    return _is_consequence(chosen[0].line if chosen else said, role)


def _is_consequence(line: str, role: str) -> bool:
    row = known(line, role)
    return row is not None and row.follows
