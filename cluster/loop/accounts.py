"""What the loop enters in the ledger of a step's groups.

The groups that are submitted in one turn of the event loop are entered in one transaction, since one for each would cost more than all else
that the driver does for a group. Whatever follows from a submission comes in a later turn, so its row is there by then.
"""

import asyncio
import sqlite3
from collections.abc import Iterable

from cluster.record.ledger import Account, Ledger, Submitted
from cluster.record.metrics.finite import mean_of_finite
from rollout.window.scored import Scored


class Accounts:
    """The accounts of the groups of one run."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.waiting: list[Submitted] = []
        self.error: sqlite3.Error | None = None  # of an entry that nobody waited for

    def submitted(self, group_id: int, prompt_id: str, epoch: int) -> None:
        """A group is handed to the engines. Needs a running loop."""
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self._write_unwatched)
        self.waiting.append(Submitted(group_id, prompt_id, epoch))

    def rejected(self, scored: Scored) -> None:
        """A group without signal is settled."""
        summary = scored.summary
        reason = f"no signal; {summary.failures[0]}" if summary.failures else "no signal"
        self.write()
        self.ledger.rejected(summary.group_id, scored.engine, reason, summary.unscored)

    def learned(self, step: int, groups: Iterable[Scored], weights: str) -> None:
        """A step is learned; `weights` is the fingerprint of what was published after it."""
        self.write()
        self.ledger.learned(step, [account(scored) for scored in groups], weights)

    def write(self) -> None:
        """Enter the submitted groups that wait; raises what an earlier entry of them raised."""
        if self.error is not None:
            raise self.error
        groups, self.waiting = self.waiting, []
        if groups:
            self.ledger.submitted_together(groups)

    def _write_unwatched(self) -> None:
        """The same, where an error would reach nobody: the next entry raises it, so that no step is learned on an account with a fault."""
        try:
            self.write()
        except sqlite3.Error as error:
            self.error = error


def account(scored: Scored) -> Account:
    """A learned group as the ledger records it."""
    summary = scored.summary
    reward = mean_of_finite(summary.rewards)
    versions = summary.oldest_version, summary.newest_version
    return Account(summary.group_id, scored.engine, reward, summary.unscored, *versions, scored.life)
