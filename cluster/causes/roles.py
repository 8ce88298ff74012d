"""The roles of a run: which actor is which engine, rank or reward workers, and where its log is.

Ray's errors carry the id of their actor through every wrapper and pickle, in their text. So the id leads from any error to its role.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from configs.errors import DeadlineExceeded, RunFailed

ACTOR_ID = re.compile(r"actor_id[=:]\s*([0-9a-f]{8,})")
NODE = re.compile(r"\bip[=:]\s*([0-9a-fA-F.:]+[0-9a-fA-F])")
PROCESS = re.compile(r"\bpid[=:]\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Role:
    """One actor of a run, as people name it."""

    name: str  # "engine 0", "learner rank 1", "reward workers 0"
    log: Path


class BehindARole(RunFailed):
    """An error that is raised from a role's own error, which says more."""


class RoleFailed(BehindARole):
    """A role failed, and the error that it is raised from says why."""

    def __init__(self, role: Role, what: str) -> None:
        super().__init__(f"{role.name} {what}")
        self.role, self.what = role, what

    @classmethod
    def behind(cls, role: Role, what: str, cause: BaseException | None) -> "RoleFailed":
        """The error as if it were raised from `cause`."""
        error = cls(role, what)
        error.__cause__ = cause
        return error


class RoleLate(DeadlineExceeded):
    """A role did not answer within run.deadline_s."""

    def __init__(self, role: Role, what: str, deadline_s: float, key: str = "run.deadline_s") -> None:
        super().__init__(f"{role.name} {what} within {key} ({deadline_s:g} s)")
        self.role = role


class RankLost(RoleFailed):
    """A learner rank died, stopped answering, or lost its connection to another rank: new ranks can go on from a checkpoint."""

    def __init__(self, role: Role, what: str, cause: BaseException, *, died: bool) -> None:
        """The error as if it were raised from `cause`, whose last line ends its message."""
        super().__init__(role, what)
        self.args, self.__cause__, self.died = (f"{role.name} {what}\n{cause}",), cause, died


# Of this process. Ids of actors never repeat, so several runs in one process share it.
_STARTED: dict[str, Role] = {}


def register(actor_id: str, role: Role) -> None:
    """Remember whose actor this is, for errors that name its id."""
    _STARTED[actor_id] = role


def role_of(text: str) -> Role | None:
    """The role of the first actor that an error's text names; None if it names none of this process's runs."""
    found = ACTOR_ID.search(text)
    return _STARTED.get(found.group(1)) if found else None


def node_of(text: str) -> str | None:
    """The address of the node that an error of Ray's names."""
    found = NODE.search(text)
    return found.group(1) if found else None


def process_of(text: str) -> int | None:
    """The process id that an error of Ray's names."""
    found = PROCESS.search(text)
    return int(found.group(1)) if found else None
