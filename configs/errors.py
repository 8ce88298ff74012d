"""The errors that a run can end with, few enough to catch by type.

GatewiseError
├── InputError (ValueError)        what was given cannot run; nothing was started
│   └── ConfigError, ModelError, DataError, RewardError, CheckpointError, RunDirTaken, NoRun
└── RunFailed (RuntimeError)       it was started, and something ended it
    └── EngineFailed, RankFailed, DeadlineExceeded (TimeoutError), and others beside the code that raises them
"""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class GatewiseError(Exception):
    """Every error that Gatewise raises on purpose."""

    failed_role: str | None = None  # "engine 0", where an engine, a rank or reward workers failed
    log: Path | None = None  # of that role
    advice: str | None = None  # what to change, where the cause is a known one


class InputError(GatewiseError, ValueError):
    """What was given cannot run. Nothing was started; the message says what to change."""


class ConfigError(InputError):
    """A config that cannot be used; the message has a line for every problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return type(self), (self.problems,)


class ModelError(InputError):
    """A model folder, a tokenizer or a reference policy that cannot be used."""


class DataError(InputError):
    """A dataset that cannot be read, or a row that cannot be used."""


class RewardError(InputError):
    """A checker that cannot be used, or that cannot use a row's reference."""


class CheckpointError(InputError):
    """A checkpoint that is damaged, missing, or does not fit the config."""


class RunDirTaken(InputError):
    """The run directory belongs to another run or another driver."""


class NoRun(InputError):
    """A folder that holds no run."""


class RunFailed(GatewiseError, RuntimeError):
    """A run, an evaluation or an export was started and could not finish."""


class EngineFailed(RunFailed):
    """An engine could not start, or every engine has died."""


class RankFailed(RunFailed):
    """A learner rank could not start, raised, or died."""


class DeadlineExceeded(RunFailed, TimeoutError):
    """A wait took longer than run.deadline_s, or a stop longer than run.stop_s or run.grace_s."""


def in_one_line(text: str) -> str:
    """Text that another program wrote, safe to print: line ends and control characters are escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def raises(kind: type[InputError]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Turn the plain ValueErrors of a function into errors of one kind; those that already have a kind keep it."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except GatewiseError:
                raise
            except ValueError as error:
                raise kind(str(error)) from error

        return call

    return decorate
