"""What the ledger records of a step's groups."""

from cluster.record.ledger import Account
from cluster.record.metrics.finite import mean_of_finite
from rollout.scored import Scored


def account(scored: Scored) -> Account:
    """A learned group as the ledger records it."""
    summary = scored.summary
    reward = mean_of_finite(summary.rewards)
    versions = summary.oldest_version, summary.newest_version
    return Account(summary.group_id, scored.engine, reward, summary.unscored, *versions, scored.life)
