"""Whether a failure costs a run its learner ranks alone, so that new ranks can go on from a checkpoint."""

from cluster.causes.chain import back_from
from cluster.causes.roles import RankLost, RoleLate

RANK = "learner rank "


def lost_rank(error: BaseException) -> bool:
    """Whether a learner rank died, stopped answering or was late. An error that a rank raised would come again, so it does not count."""
    if isinstance(error, BaseExceptionGroup):  # a task that is cancelled meanwhile may fail too
        return any(lost_rank(inner) for inner in error.exceptions)
    return any(isinstance(at, RankLost) or (isinstance(at, RoleLate) and at.role.name.startswith(RANK)) for at in back_from(error))
