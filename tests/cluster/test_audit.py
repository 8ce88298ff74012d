"""The audit of a run against runs that were damaged on purpose: each damage is found, and no sound run is accused."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cluster.record.audit.audit import audit
from cluster.record.ledger import Ledger, Proven
from cluster.record.saves.integrity import write_state
from tests.toys.controller import STEPS, train

CUT = 9  # the run was killed later, and continued after this step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ran ahead, rejected groups, was killed at its last step and continued from a checkpoint half way."""
    folder = tmp_path_factory.mktemp("audit") / "run"
    train(folder, 0, staleness=1, sampler="uniform")
    train(folder, 1, staleness=1, sampler="uniform", resume=CUT)
    lines = [{"step": step, "load": [0.5]} for step in range(1, STEPS + 1)]
    (folder / "layers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def sql(*statements: str) -> Callable[[Path], None]:
    """Changes in the ledger, with its own guards taken away first."""
    guards = (
        "DROP INDEX IF EXISTS learned_once",
        "DROP INDEX IF EXISTS step_once",
        "DROP TRIGGER IF EXISTS settled_once",
        "PRAGMA ignore_check_constraints = ON",
    )

    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "ledger.db")) as db:
            for statement in (*guards, *statements):
                db.execute(statement)
            db.commit()

    return change


def lines(name: str, edit: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """A change of the lines of a file; `*` stands for the first file of its kind."""

    def change(folder: Path) -> None:
        path = sorted(folder.glob(name))[0]
        path.write_text("".join(edit(path.read_text().splitlines(keepends=True))))

    return change


def field(name: str, key: str, value: object) -> Callable[[Path], None]:
    """Another value in the first line of a file."""
    return lines(name, lambda rows: [json.dumps(json.loads(rows[0]) | {key: value}) + "\n", *rows[1:]])


def state(at: int, /, **values: object) -> Callable[[Path], None]:
    """Another position in a checkpoint."""

    def change(folder: Path) -> None:
        path = folder / "checkpoints" / f"step_{at:06d}" / "state.json"
        kept = json.loads(path.read_text())
        write_state(path.parent, kept["position"] | values, kept["files"])  # with its hash: of an altered file an audit says only that

    return change


def experts(edit: Callable[[np.ndarray], list[int]]) -> Callable[[Path], None]:
    """Other steps in experts.npz."""

    def change(folder: Path) -> None:
        with np.load(folder / "experts.npz") as kept:
            steps, counts = edit(kept["steps"]), kept["counts"]
        np.savez(folder / "experts.npz", steps=np.array(steps), counts=counts[: len(steps)])

    return change


def files(act: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        act(folder)

    return change


ONE = "(SELECT group_id FROM groups WHERE step = 3 LIMIT 1)"  # a group that step 3 has learned
NEW = "(SELECT group_id FROM groups WHERE step = 12 AND outcome = 'learned' LIMIT 1)"  # one that the second attempt has learned
FRESH = "(SELECT next_group FROM attempts WHERE attempt = 2)"
TWICE = "UPDATE groups SET prompt_id = (SELECT prompt_id FROM groups WHERE group_id = 1) WHERE group_id = 0"
AGAIN = "INSERT INTO groups (group_id, attempt, prompt_id, epoch) VALUES ({}, 2, 'q1', 0)"
RESUMED = "WHERE attempt = 2 AND publish = 1"
OTHER = f"UPDATE publishes SET sent = 'other', weights = 'other' {RESUMED}"
SECOND = "INSERT INTO publishes SELECT attempt, publish, {}, 1, 0, {}, at FROM publishes"
DAMAGES = [
    ("conservation", "is lost", sql(f"UPDATE groups SET outcome = 'undone' WHERE group_id = {ONE}")),
    ("conservation", "was never handed out", sql(f"DELETE FROM groups WHERE group_id = {ONE}")),
    ("conservation", "is undone in attempt 2, which nothing", sql(f"UPDATE groups SET outcome = 'undone' WHERE group_id = {NEW}")),
    ("conservation", "is still in flight in attempt 1", sql("UPDATE groups SET outcome = 'submitted' WHERE attempt = 1 AND step = 15")),
    ("conservation", "though it was settled before", sql(AGAIN.format(0))),
    ("conservation", "though it was settled before", sql("UPDATE attempts SET pending = '[]' WHERE attempt = 2")),
    ("conservation", "without group", sql(f"DELETE FROM groups WHERE attempt = 2 AND group_id = {FRESH}")),
    ("conservation", "and its window holds 8", sql("UPDATE attempts SET settings = json_set(settings, '$.max_refill', 0)",
        "UPDATE groups SET outcome = 'submitted' WHERE attempt = 2 AND step > 15")),
    ("conservation", "and never began", sql("UPDATE groups SET attempt = 7 WHERE attempt = 2")),
    ("conservation", "to 999999999 are lost", sql(AGAIN.format(1000000000))),
    ("exactly once", "is settled in attempts 1, 2", sql("UPDATE groups SET outcome = 'learned' WHERE step = 12")),
    ("exactly once", "and a later attempt hands it out again", sql("UPDATE groups SET outcome = 'learned' WHERE step = 12")),
    ("exactly once", "step 5 is missing", sql("DELETE FROM steps WHERE step = 5")),
    ("exactly once", "4 groups are learned by step 5 of attempt 1", sql("UPDATE steps SET undone = 1 WHERE step = 5")),
    ("exactly once", "is undone, and no later attempt", sql("UPDATE steps SET undone = 1 WHERE step = 5")),
    ("exactly once", "step 12 stands 2 times", sql("UPDATE steps SET undone = 0 WHERE step = 12")),
    ("exactly once", "stands, and attempt 2 continued before it", sql("UPDATE steps SET undone = 0 WHERE step = 12")),
    ("exactly once", "step 3 of attempt 1 learned 3 groups, and a step has 4", sql(f"UPDATE groups SET step = 4 WHERE group_id = {ONE}")),
    ("exactly once", "was learned before, since the attempt continues after", sql("UPDATE steps SET attempt = 2 WHERE step = 5")),
    ("exactly once", "belongs to no attempt", sql("UPDATE steps SET attempt = 9 WHERE step = 5")),
    ("exactly once", "epoch 0 has prompt", sql(TWICE)),
    ("exactly once", "epoch 0 is over and lacks prompt", sql(TWICE)),
    ("exactly once", "epoch 0 is over and lacks prompt", sql("UPDATE groups SET epoch = 1 WHERE group_id = 0")),
    ("exactly once", "and was prompt", sql(f"UPDATE groups SET prompt_id = 'other' WHERE attempt = 2 AND group_id = {NEW}")),
    ("staleness", "staleness 4, and run.max_staleness is 1", sql("UPDATE groups SET oldest_version = 7 WHERE step = 12 AND attempt = 2")),
    ("staleness", "and run.max_staleness is 0", sql("UPDATE attempts SET settings = json_set(settings, '$.max_staleness', 0)")),
    ("staleness", "which its step cannot have", sql(f"UPDATE groups SET newest_version = 3 WHERE group_id = {ONE}")),
    ("staleness", "which its step cannot have", sql(f"UPDATE groups SET oldest_version = -1 WHERE group_id = {ONE}")),
    ("staleness", "has no version", sql(f"UPDATE groups SET oldest_version = NULL WHERE group_id = {ONE}")),
    ("staleness", "staleness 4", sql("UPDATE groups SET oldest_version = 7, newest_version = 7 WHERE step = 12 AND attempt = 1")),  # undone
    ("provenance", "engine 0 proved wrong, and the learner sent w5", sql("UPDATE publishes SET weights = 'wrong' WHERE version = 5")),
    ("provenance", "proved nothing", sql("UPDATE publishes SET weights = '' WHERE version = 5")),
    ("provenance", "and the learner sent other", sql("UPDATE publishes SET sent = 'other' WHERE version = 5")),
    ("provenance", "stands without a publish of its weights", sql("DELETE FROM publishes WHERE version = 5")),
    ("provenance", "which it never proved to have", sql("DELETE FROM publishes WHERE version = 5")),
    ("provenance", "has weights stale, and w5 were published", sql("UPDATE steps SET weights = 'stale' WHERE step = 5")),
    ("provenance", "was sampled by engine 3 with version", sql(f"UPDATE groups SET engine = 3 WHERE group_id = {ONE}")),
    ("provenance", "was sampled by engine 0 (life 1)", sql(f"UPDATE groups SET life = 1 WHERE group_id = {ONE}")),
    ("provenance", "attempt 2 continues step 9 with weights other", sql(OTHER)),
    ("provenance", "without a publish of version 9, with which it begins", sql(f"DELETE FROM publishes {RESUMED}")),
    ("provenance", "and others have version 5", sql(SECOND.format("4, 'w4'", "'w4'") + " WHERE version = 5")),
    ("rewards", "and the ledger has", field("responses/*", "reward", 0.25)),
    ("rewards", "the ledger has no such group of this step", field("responses/*", "group", 70)),
    ("rewards", "twice", lines("responses/*", lambda rows: [*rows, rows[0]])),
    ("rewards", "and the ledger has prompt", field("responses/*", "prompt_id", "other")),
    ("rewards", "reward None with outcome scored", field("responses/*", "reward", None)),
    ("rewards", "member 9 of a group of 4", field("responses/*", "member", 9)),
    ("rewards", "mean reward", sql("UPDATE groups SET reward = reward + 0.1 WHERE step = 3")),
    ("rewards", "1 kept responses without a reward, and the ledger counts 0", lines("responses/*", lambda rows: [
        json.dumps(json.loads(rows[0]) | {"reward": None, "outcome": "crashed"}) + "\n", *rows[1:]])),
    ("metrics", "metrics.jsonl has no line of step 4", lines("metrics.jsonl", lambda rows: rows[:3] + rows[4:])),
    ("metrics", "metrics.jsonl has 2 lines of step 4", lines("metrics.jsonl", lambda rows: rows[:4] + rows[3:])),
    ("metrics", "in another order", lines("metrics.jsonl", lambda rows: rows[::-1])),
    ("metrics", "metrics.jsonl line 3 is no metrics", lines("metrics.jsonl", lambda rows: [*rows[:2], rows[2][:20] + "\n", *rows[3:]])),
    ("metrics", "has a line of step 99", lines("metrics.jsonl", lambda rows: [*rows, '{"step": 99}\n'])),
    ("metrics", "no line of step 16", lines("metrics.jsonl", lambda rows: rows[:15])),
    ("metrics", "there is no metrics.jsonl", files(lambda folder: (folder / "metrics.jsonl").unlink())),
    ("metrics", "layers.jsonl has no line of step 4", lines("layers.jsonl", lambda rows: rows[:3] + rows[4:])),
    ("metrics", "layers.jsonl has 2 lines of step 4", lines("layers.jsonl", lambda rows: rows[:4] + rows[3:])),
    ("metrics", "experts.npz ends before step 17", experts(lambda steps: steps[:-2].tolist())),
    ("metrics", "experts.npz has step 99", experts(lambda steps: [*steps[:-1].tolist(), 99])),
    ("metrics", "experts.npz has its steps twice", experts(lambda steps: [1, *steps[:-1].tolist()])),
    ("metrics", "experts.npz cannot be read", files(lambda folder: (folder / "experts.npz").write_bytes(b"PK\x03\x04junk"))),
    ("metrics", "step_000004.jsonl is missing", files(lambda folder: (folder / "responses/step_000004.jsonl").unlink())),
    ("metrics", "step_000077.jsonl is of a step", files(lambda folder: (folder / "responses/step_000077.jsonl").touch())),
    ("metrics", "line 2 is no response", lines("responses/*", lambda rows: [rows[0], "{}\n", *rows[1:]])),
    ("checkpoints", "is damaged", files(lambda folder: (folder / "checkpoints/step_000009/rank-0.json").write_text(""))),
    ("checkpoints", "is damaged", files(lambda folder: (folder / "checkpoints/step_000009/state.json").unlink())),
    ("checkpoints", "holds step 9", files(lambda folder: (folder / "checkpoints/step_000009").rename(folder / "checkpoints/step_000010"))),
    ("checkpoints", "is of a step that does not stand", state(18, step=40)),
    ("checkpoints", "as settled, and step", state(9, pending=[])),
    ("checkpoints", "pending, which step 1 has learned", sql("UPDATE groups SET step = 1 WHERE attempt = 2")),
    ("checkpoints", "which is not below its next group", state(9, pending=[4000])),
    ("checkpoints", "pending group twice", state(9, pending=[50, 50])),
    ("checkpoints", "and it was never handed out", state(9, next_group=5000)),
    ("checkpoints", "as settled, and the ledger does not", sql("UPDATE groups SET outcome = 'undone' WHERE step = 3")),
    ("events", "attempts are numbered 2", sql("DELETE FROM attempts WHERE attempt = 1")),
    ("events", "and only 18 steps were learned before", sql("UPDATE attempts SET from_step = 30 WHERE attempt = 2")),
    ("events", "belongs to no attempt", sql("INSERT INTO events VALUES (8, 0, 'died', 'engine 0', 'killed')")),
    ("events", "engine 0 was replaced 1 times, and the ledger has 0 events", sql("UPDATE publishes SET life = 1 WHERE attempt = 2")),
    ("events", "has publishes of attempt 9", sql("UPDATE publishes SET attempt = 9 WHERE attempt = 2")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "said", "damage"), DAMAGES, ids=[f"{name}: {said}" for name, said, _ in DAMAGES])
def test_every_damage_is_found(run: Path, name: str, said: str, damage: Callable[[Path], None]) -> None:
    damage(run)
    found = {one.name: one.violations for one in audit(run)}
    assert [text for text in found[name] if said in text], found


def half_a_line(folder: Path) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 19, "lo')


UNHARMED = {
    "as it is": files(lambda folder: None),
    "half a line at the end": half_a_line,
    "killed before its newest line": lines("metrics.jsonl", lambda rows: rows[:-1]),
    "killed before its newest experts": experts(lambda steps: steps[:-1].tolist()),
    "killed before its newest responses": files(lambda folder: (folder / f"responses/step_{STEPS:06d}.jsonl").unlink()),
    "killed in a save": files(lambda folder: (folder / "checkpoints/step_000021.tmp").mkdir()),
    "older checkpoints deleted": files(lambda folder: shutil.rmtree(folder / "checkpoints/step_000003")),
    "an engine that was replaced": sql(
        "UPDATE publishes SET life = 1 WHERE attempt = 2", "UPDATE groups SET life = 1 WHERE attempt = 2",
        "INSERT INTO events VALUES (2, 0, 'died', 'engine 0', 'killed')",
    ),
    "engines that stayed up": sql(f"UPDATE publishes SET attempt = 1, publish = 99 {RESUMED}"),
    "a second engine": sql(SECOND.format("version, sent", "weights")),
}  # fmt: skip


@pytest.mark.parametrize("change", UNHARMED.values(), ids=UNHARMED)
def test_what_happens_to_sound_runs_is_no_violation(run: Path, change: Callable[[Path], None]) -> None:
    change(run)
    found = audit(run)
    assert [text for one in found for text in (*one.violations, *one.unchecked)] == []
    assert all(one.checked > 0 for one in found)
    assert found[0].found["learned"] == STEPS * 4
    assert found[0].found["rejected"] > 0
    assert found[-1].found["undone steps"] == STEPS - CUT


def test_responses_that_a_full_disk_did_not_take_are_no_gap(run: Path) -> None:
    name = "responses/step_000004.jsonl"
    (run / name).unlink()
    sql(f"INSERT INTO events SELECT attempt, 0, 'lost', '{name}', 'the disk was full' FROM steps WHERE step = 4 AND NOT undone")(run)
    found = audit(run)
    assert [text for one in found for text in one.violations] == []
    assert [text for one in found for text in one.unchecked] == [
        f"1 file of responses from {name} on: the disk was full, as the ledger says"
    ]


def test_a_run_that_was_just_continued_may_have_lines_of_undone_steps(run: Path) -> None:
    with closing(Ledger(run / "ledger.db")) as ledger:
        kept = json.loads((run / "checkpoints/step_000012/state.json").read_text())["position"]
        shutil.rmtree(run / "checkpoints/step_000015")
        shutil.rmtree(run / "checkpoints/step_000018")
        ledger.begin(kept["step"], kept["next_group"], kept["pending"])
        assert [text for one in audit(run) for text in one.violations] == []
        ledger.published(12, "w12", [Proven(0, 0, "w12")])
        assert [text for one in audit(run) for text in one.violations] == []
        for group in kept["pending"]:
            ledger.submitted(group, *ledger.db.execute("SELECT prompt_id, epoch FROM groups WHERE group_id = ?", (group,)).fetchone())
        ledger.learned(13, [(group, 0, 1.0, 0, 12, 12) for group in kept["pending"][:4]], "w13")
        ledger.published(13, "w13", [Proven(0, 0, "w13")])
        found = [text for one in audit(run) for text in one.violations]
    assert [text for text in found if "metrics.jsonl has a line of step 14, which does not stand" in text]
