"""From whatever ended a run to an error of a type that a caller can catch."""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.causes.cause import find_cause
from cluster.causes.chain import first_cause
from cluster.causes.roles import RoleFailed
from configs.errors import DeadlineExceeded, EngineFailed, GatewiseError, InputError, RankFailed, RunFailed

FAILED_IN = {"engine": EngineFailed, "learner": RankFailed}  # by the first word of a role's name


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise everything that ends the block as a GatewiseError, with the original as its cause."""
    try:
        yield
    except Exception as error:
        found = typed(error)
        if found is error:
            raise
        raise found from error


def typed(error: Exception) -> GatewiseError:
    """The error itself if the driver raised it with a type of its own, else one that says in which role of a run it was raised."""
    raised = first_of(error)
    found = find_cause(raised)
    cause = first_cause(raised)
    known = isinstance(cause, ValueError | RuntimeError | TimeoutError)  # their messages are sentences; of others the type says more
    text = str(cause) if known else f"{type(cause).__name__}: {cause}"
    own = getattr(raised, "cause", raised)  # what an actor raised, inside Ray's wrapper
    if isinstance(own, GatewiseError) and not isinstance(own, RoleFailed):
        failed = own
    elif found.role:
        failed = FAILED_IN.get(found.role.split()[0], RunFailed)(found.line)
    elif isinstance(cause, TimeoutError):
        failed = DeadlineExceeded(text)
    else:
        failed = InputError(text) if isinstance(cause, ValueError) else RunFailed(text)
    failed.failed_role, failed.log, failed.advice = found.role, found.log, found.advice
    return failed


def first_of(error: BaseException) -> BaseException:
    """The first error of a group, the error itself if it is none."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
