import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.record.ledger import Ledger, Proven

GROUPS_PER_STEP = 2
SLOTS = 6


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    book = Ledger(tmp_path / "ledger.db")
    book.begin(0, 0, ())
    return book


def hand_out(ledger: Ledger, *group_ids: int) -> None:
    for group_id in group_ids:
        ledger.submitted(group_id, f"p{group_id}", 0)


def rows(*group_ids: int) -> list[tuple[int, int, float, int, int, int]]:
    return [(group_id, 0, 0.5, 0, 0, 0) for group_id in group_ids]


def outcomes(ledger: Ledger) -> dict[tuple[int, int], str]:
    return {(group, attempt): outcome for group, attempt, outcome in ledger.db.execute("SELECT group_id, attempt, outcome FROM groups")}


def test_a_group_goes_from_submitted_to_learned_or_rejected(ledger: Ledger):
    hand_out(ledger, 0, 1, 2)
    ledger.retried(1)
    ledger.rejected(0, 3, "no signal", 2)
    ledger.learned(1, [(1, 2, 0.25, 3, 0, 1)])
    assert outcomes(ledger) == {(0, 1): "rejected", (1, 1): "learned", (2, 1): "submitted"}
    found = ledger.db.execute(
        "SELECT prompt_id, engine, step, reward, unscored, oldest_version, newest_version, tries FROM groups WHERE group_id = 1"
    )
    assert found.fetchall() == [("p1", 2, 1, 0.25, 3, 0, 1, 2)]
    assert ledger.db.execute("SELECT engine, reason, unscored FROM groups WHERE group_id = 0").fetchall() == [(3, "no signal", 2)]
    assert ledger.faults(3, [2]) == []


def test_no_group_is_learned_twice_whoever_asks(ledger: Ledger):
    hand_out(ledger, 0, 1)
    ledger.learned(1, rows(0))
    with pytest.raises(sqlite3.IntegrityError, match="settled"):
        ledger.learned(2, rows(1, 0))
    with pytest.raises(sqlite3.IntegrityError, match="settled"):
        ledger.rejected(0, 0, "no signal", 0)
    assert ledger.faults(2, [1]) == [], "the refused step left nothing behind"
    ledger.learned(2, rows(1))


def test_no_group_is_learned_in_two_attempts(ledger: Ledger):
    hand_out(ledger, 0)
    ledger.learned(1, rows(0))
    ledger.begin(1, 1, ())
    hand_out(ledger, 0)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        ledger.learned(2, rows(0))


def test_no_step_is_closed_twice_and_no_prompt_handed_out_twice(ledger: Ledger):
    hand_out(ledger, 0, 1)
    ledger.learned(1, rows(0))
    with pytest.raises(sqlite3.IntegrityError):
        ledger.learned(1, rows(1))
    with pytest.raises(sqlite3.IntegrityError):
        hand_out(ledger, 1)
    assert ledger.faults(2, [1]) == []


def test_only_groups_that_were_handed_out_are_settled(ledger: Ledger):
    hand_out(ledger, 0)
    with pytest.raises(AssertionError, match="step 1 learned 2 groups, 1 of them submitted"):
        ledger.learned(1, rows(0, 7))
    with pytest.raises(AssertionError, match="group 7"):
        ledger.rejected(7, 0, "no signal", 0)
    assert outcomes(ledger) == {(0, 1): "submitted"}


def test_resuming_undoes_what_came_after_the_checkpoint_and_keeps_the_rest(ledger: Ledger):
    hand_out(ledger, *range(6))
    ledger.learned(1, rows(0))
    ledger.rejected(1, 0, "no signal", 0)  # the checkpoint is written here: groups 2 and 3 are pending, 4 is next
    ledger.learned(2, rows(2))
    ledger.rejected(3, 0, "no signal", 0)
    ledger.learned(3, rows(4))
    ledger.begin(1, 4, [2, 3])
    assert [outcomes(ledger)[group, 1] for group in range(6)] == ["learned", "rejected", "undone", "undone", "undone", "undone"]
    assert ledger.faults(4, [2, 3]) == []
    hand_out(ledger, 2, 3)
    ledger.learned(2, rows(2, 3))
    assert ledger.faults(4, []) == []


class Run:
    """A driver reduced to its book-keeping, killed and resumed at any point."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ledger = Ledger(Path(":memory:"))
        self.saved: list[tuple[int, int, list[int]]] = [(0, 0, [])]
        self.resume()

    def resume(self, back: int = 0) -> None:
        """Continue at the newest checkpoint, or at an earlier one when the newest are damaged."""
        self.saved = self.saved[: max(1, len(self.saved) - back)]
        self.step, self.next_group, self.waiting = self.saved[-1][0], self.saved[-1][1], list(self.saved[-1][2])
        self.in_flight: list[int] = []
        self.ledger.begin(self.step, self.next_group, self.waiting)

    def act(self, action: str) -> None:
        if action == "submit" and len(self.in_flight) < SLOTS:
            group_id = self.waiting.pop(0) if self.waiting else self.next_group
            self.next_group += group_id == self.next_group
            self.ledger.submitted(group_id, f"p{group_id}", 0)
            self.in_flight.append(group_id)
        elif action == "reject" and self.in_flight:
            self.ledger.rejected(self.in_flight.pop(0), 0, "no signal", 0)
        elif action == "learn" and len(self.in_flight) >= GROUPS_PER_STEP:
            self.step += 1
            self.ledger.learned(self.step, rows(*self.in_flight[:GROUPS_PER_STEP]))
            del self.in_flight[:GROUPS_PER_STEP]
        elif action == "save" and self.step > self.saved[-1][0]:
            self.saved.append((self.step, self.next_group, self.in_flight + self.waiting))
        elif action == "kill":
            self.resume(back=self.random.choice([0, 0, 1, 2]))

    def faults(self) -> list[str]:
        return self.ledger.faults(self.next_group, self.in_flight + self.waiting)


actions = st.lists(st.sampled_from(["submit", "submit", "submit", "reject", "learn", "learn", "save", "kill"]), max_size=80)


@settings(max_examples=150, deadline=None)
@given(actions, st.integers(0, 100))
def test_no_prompt_is_lost_or_learned_twice_wherever_a_run_is_killed(history: list[str], seed: int):
    run = Run(seed)
    for action in history:
        run.act(action)
        assert run.faults() == []
    run.ledger.close()


def test_a_lost_prompt_is_found(ledger: Ledger):
    hand_out(ledger, 0, 1, 2)
    ledger.learned(1, rows(0, 2))
    assert ledger.faults(3, []) == ["group 1 was submitted and never settled"]


def test_a_prompt_learned_twice_is_found(ledger: Ledger):
    hand_out(ledger, 0)
    ledger.learned(1, rows(0))
    ledger.db.execute("DROP INDEX learned_once")
    ledger.begin(1, 1, ())
    hand_out(ledger, 0)
    ledger.learned(2, rows(0))
    assert ledger.faults(1, []) == ["group 0 was settled 2 times"]


def test_a_step_that_is_missing_or_was_undone_is_found(ledger: Ledger):
    hand_out(ledger, 0, 1, 2)
    for step in (1, 2, 3):
        ledger.learned(step, rows(step - 1))
    ledger.db.execute("UPDATE steps SET undone = 1 WHERE step = 2")
    assert ledger.faults(3, []) == [
        "group 1 was learned by step 2, which is undone or missing",
        "steps are not consecutive: [1, 3] ... [1, 3]",
    ]


def test_the_book_of_an_earlier_driver_is_read_by_the_next(tmp_path: Path):
    first = Ledger(tmp_path / "ledger.db")
    first.begin(0, 0, ())
    hand_out(first, 0)
    first.learned(1, rows(0))
    # The first is left open, as by a kill.
    second = Ledger(tmp_path / "ledger.db")
    second.begin(1, 1, ())
    assert second.attempt == 2
    assert second.faults(1, []) == []


def test_an_attempt_records_what_changed_in_its_config(ledger: Ledger):
    ledger.begin(0, 0, (), [("learner.lr", 1e-6, 2e-6), ("data.eval", None, "eval.jsonl"), ("learner.betas", (0.9, 0.99), (0.8, 0.9))])
    assert ledger.db.execute("SELECT * FROM changes ORDER BY key").fetchall() == [
        (2, "data.eval", None, '"eval.jsonl"'), (2, "learner.betas", "[0.9, 0.99]", "[0.8, 0.9]"), (2, "learner.lr", "1e-06", "2e-06"),
    ]  # fmt: skip


def test_the_ledger_of_an_older_run_gets_the_table_of_changes(tmp_path: Path, ledger: Ledger):
    ledger.db.execute("DROP TABLE changes")
    ledger.close()
    later = Ledger(tmp_path / "ledger.db")
    later.begin(0, 0, (), [("run.steps", 3, 4)])
    assert later.db.execute("SELECT attempt, key FROM changes").fetchall() == [(2, "run.steps")]
    later.close()


def test_publishes_and_events_belong_to_their_attempt(ledger: Ledger):
    ledger.published(0, "w0", [Proven(0, 0, "w0"), Proven(1, 0, "w0")])
    ledger.published(1, "w1", [Proven(0, 0, "w1"), Proven(1, 2, "w1")])
    ledger.event("dead", "engine 1", "killed")
    ledger.begin(1, 4, [2, 3], settings={"max_staleness": 1})
    ledger.published(1, "w1", [Proven(0, 0, "w1")])
    found = ledger.db.execute(
        "SELECT attempt, publish, version, sent, engine, life, weights FROM publishes ORDER BY attempt, publish, engine"
    )
    assert found.fetchall() == [
        (1, 1, 0, "w0", 0, 0, "w0"), (1, 1, 0, "w0", 1, 0, "w0"), (1, 2, 1, "w1", 0, 0, "w1"), (1, 2, 1, "w1", 1, 2, "w1"),
        (2, 1, 1, "w1", 0, 0, "w1"),
    ]  # fmt: skip
    assert ledger.db.execute("SELECT attempt, kind, who, text FROM events").fetchall() == [(1, "dead", "engine 1", "killed")]
    begun = ledger.db.execute("SELECT next_group, pending, settings FROM attempts WHERE attempt = 2")
    assert begun.fetchall() == [(4, "[2, 3]", '{"max_staleness": 1}')]
