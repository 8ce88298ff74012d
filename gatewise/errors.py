"""From whatever ended a run to an error of a type that a caller can catch."""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.cli import first_cause
from configs.errors import DeadlineExceeded, EngineFailed, GatewiseError, InputError, RankFailed, RunFailed

FAILED_IN = {"EngineActor": EngineFailed, "LearnerActor": RankFailed}


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
    """The error itself if the driver raised it with a type of its own, else one that says in which part of a run it was raised."""
    raised = first_of(error)
    cause = first_cause(raised)
    if raised is cause and isinstance(cause, GatewiseError):
        return cause
    from cluster.actors.failures import actor_of  # imports Ray, which a wrong config does not need

    known = isinstance(cause, ValueError | RuntimeError | TimeoutError)  # their messages are sentences; of others the type says more
    text = str(cause) if known else f"{type(cause).__name__}: {cause}"
    if actor := actor_of(raised):
        return FAILED_IN.get(actor, RunFailed)(text)
    if isinstance(cause, TimeoutError):
        return DeadlineExceeded(text)
    return InputError(text) if isinstance(cause, ValueError) else RunFailed(text)


def first_of(error: BaseException) -> BaseException:
    """The first error of a group, the error itself if it is none."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
