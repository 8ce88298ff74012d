"""Groups that are submitted in one turn of the event loop are entered together, before anything that follows from them."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.loop.accounts import Accounts
from cluster.record.ledger import Ledger
from rollout.types import Prompt
from rollout.window.scored import Scored
from tests.toys.run import toy_summary

PROMPT = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="exact")


def scored(group_id: int) -> Scored:
    return Scored(summary=toy_summary(group_id, [1.0, 0.0]), texts=(), tokens=None, engine=0, prompt=PROMPT)


def book(folder: Path, work: Callable[[Accounts], Awaitable[None]]) -> list[Any]:
    """Do some work on the accounts of a new ledger; every group with its outcome, and the number of transactions."""
    ledger = Ledger(folder / "ledger.db")
    ledger.begin(0, 0, ())
    began: list[str] = []
    ledger.db.set_trace_callback(lambda sql: began.append(sql) if sql.startswith("BEGIN") else None)
    try:
        asyncio.run(work(Accounts(ledger)))
    finally:
        rows = ledger.db.execute("SELECT group_id, outcome, attempt FROM groups ORDER BY rowid").fetchall()
        ledger.close()
    return [rows, len(began)]


def test_groups_of_one_turn_share_a_transaction_and_are_there_in_the_next_one(tmp_path: Path) -> None:
    async def work(accounts: Accounts) -> None:
        for turn in range(3):
            for group in range(50 * turn, 50 * (turn + 1)):
                accounts.submitted(group, f"p{group}", 0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            (count,) = accounts.ledger.db.execute("SELECT count(*) FROM groups").fetchone()
            assert count == 50 * (turn + 1)

    assert book(tmp_path, work) == [[(group, "submitted", 1) for group in range(150)], 3]


@pytest.mark.parametrize("settle", ["rejected", "learned"])
def test_a_group_that_is_settled_in_the_turn_of_its_submission_is_entered_before(tmp_path: Path, settle: str) -> None:
    async def work(accounts: Accounts) -> None:
        accounts.submitted(0, "p0", 0)
        accounts.rejected(scored(0)) if settle == "rejected" else accounts.learned(1, [scored(0)], "w")
        accounts.submitted(1, "p1", 0)
        await asyncio.sleep(0)

    assert book(tmp_path, work)[0] == [(0, settle, 1), (1, "submitted", 1)]


def test_a_group_that_is_submitted_twice_ends_the_run_before_a_step_is_learned(tmp_path: Path) -> None:
    async def work(accounts: Accounts) -> None:
        for _ in range(2):
            accounts.submitted(0, "p0", 0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        accounts.submitted(1, "p1", 0)
        accounts.learned(1, [scored(0)], "w")

    with pytest.raises(sqlite3.IntegrityError):
        book(tmp_path, work)
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.db.execute("SELECT group_id, outcome FROM groups").fetchall() == [(0, "submitted")]
    assert ledger.db.execute("SELECT count(*) FROM steps").fetchone() == (0,)
    ledger.close()


def test_a_loop_that_ends_before_its_next_turn_leaves_no_half_of_a_submission(tmp_path: Path) -> None:
    async def work(accounts: Accounts) -> None:
        for group in range(9):
            accounts.submitted(group, f"p{group}", 0)

    rows, _ = book(tmp_path, work)
    assert len(rows) in (0, 9)
