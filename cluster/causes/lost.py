"""Whether a failure costs a run its learner ranks alone, so that new ranks can go on from a checkpoint."""

import re

from cluster.causes.chain import back_from
from cluster.causes.roles import RankLost, RoleLate

RANK = "learner rank "
# Ray's errors for what is gone from the object store. Where a rank raised one, Ray may bring its text alone.
LOST_OBJECT = re.compile(
    r"ray\.exceptions\.(ObjectLost|ObjectFetchTimedOut|OwnerDied|ReferenceCountingAssertion|ObjectReconstruction\w*)Error"
)


def lost_rank(error: BaseException) -> bool:
    """Whether a learner rank died, stopped answering or was late, or could not fetch tokens that were lost with their node.

    Any other error that a rank raised would come again, so it does not count.
    """
    if isinstance(error, BaseExceptionGroup):  # a task that is cancelled meanwhile may fail too
        return any(lost_rank(inner) for inner in error.exceptions)
    return any(_says_so(at) for at in back_from(error))


def _says_so(error: BaseException) -> bool:
    if any(kind.__name__ == "ObjectLostError" for kind in type(error).__mro__) or LOST_OBJECT.search(str(error)):
        return True
    return isinstance(error, RankLost) or (isinstance(error, RoleLate) and error.role.name.startswith(RANK))
