"""Whether an error means that an actor is gone."""

import ray

from cluster.causes.roles import RankLost


def has_died(error: BaseException) -> bool:
    """Whether an error means that its actor has died, or the vLLM process behind a living actor."""
    if isinstance(error, RankLost):
        return error.died
    if isinstance(error, ray.exceptions.RayTaskError):
        # Raised inside a living actor. If it had called an actor that died, Ray's class for this error is an ActorDiedError too.
        return type(error.cause).__name__ == "EngineDeadError"
    return isinstance(error, ray.exceptions.RayActorError) or type(error).__name__ == "EngineDeadError"
