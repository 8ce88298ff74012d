"""A whole run whose checker hangs, dies, raises and says NaN: no failure becomes a reward, and every response is accounted for.

The checker is a file of the user's, named by a relative path, and the run is started by the console script in a foreign folder.
"""

import json
import os
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.record.checkpoint import Checkpoints, read_position
from cluster.record.ledger import Ledger
from configs.loader import load
from rollout.seeds import seed_of_response
from rollout.types import Outcome
from tests.toys import failing_checkers
from tests.toys.drive import CONFIG, CONSOLE, ROOT, SMALL, driving, metrics
from tests.toys.failing_checkers import fate

pytestmark = pytest.mark.end_to_end

STEPS, GROUPS, SIZE = 4, 16, 4  # as in tests.drive.SMALL
PATHS = {"model.path": "model", "data.train": "train.jsonl", "data.eval": "eval.jsonl"}
TOO_EVEN = "8"  # the service gives up on responses that end in it


class Style(BaseHTTPRequestHandler):
    """A checker on the network: half a point for everything, and no answer for some."""

    def do_GET(self) -> None:
        self._say(200, {})

    do_HEAD = do_OPTIONS = do_GET

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._say(500 if asked["response"].strip().endswith(TOO_EVEN) else 200, {"score": 0.5})

    def _say(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def service() -> Iterator[str]:
    """The address of a running Style."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Style)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/score"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of which every response is kept as text."""
    folder = tmp_path_factory.mktemp("failures")
    (folder / "rewards").mkdir()
    shutil.copy(failing_checkers.__file__, folder / "rewards" / "mine.py")
    tiny = [f"{key}={ROOT / '.cache/tiny' / rest}" for key, rest in PATHS.items()]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    with service() as url:
        settings = (
            f"run.steps={STEPS}", f"run.sample_responses={GROUPS * SIZE}", "run.eval_every=0", "data.eval_limit=8",
            "reward.checker=rewards/mine.py:sometimes", "reward.timeout_s=0.5", "reward.memory_mb=512", "reward.second=exact",
            "reward.parts.http.weight=0.5", f"http.url={url}", "http.retries=1", "reward.keep_disagreements=4", "reward.nodes=engines",
            "reward.parts.told.checker=rewards/mine.py:told", "reward.parts.told.weight=0.0", 'data.keep_fields=["prompt"]',
        )  # fmt: skip
        words = ["train", str(ROOT / CONFIG), f"run.dir={folder / 'run'}", *tiny, *SMALL, *settings]
        with driving(words, folder, env, folder, CONSOLE) as driver:
            assert driver.wait() == 0, driver.text()
            assert driver.wait_for_nobody() == []
            assert "responses have no reward (reward.warn_failures = 0.1); the first failure is " in driver.text()
            (folder / "run" / "terminal.txt").write_text(driver.text())
        with driving(["rewards", "audit", "run"], folder, env, folder, CONSOLE) as driver:
            (folder / "run" / "audit.txt").write_text(f"{driver.wait()}\n{driver.text()}")
            assert driver.wait_for_nobody() == []
    return folder / "run"


def kept(run: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a folder of the run, each with its step."""
    files = sorted((run / name).glob("*.jsonl"))
    return [{"file": file.stem, **json.loads(line)} for file in files for line in file.read_text().splitlines()]


def expected(row: dict[str, Any]) -> tuple[str, float | None]:
    """The outcome and the reward that a response must have."""
    lot = fate(row["response"], row["reference"])
    if lot != "score":
        return {"hang": "timed_out", "die": "crashed"}.get(lot, "unscorable"), None
    if row["response"].strip().endswith(TOO_EVEN):
        return "unscorable", None
    return "scored", float(row["response"].strip() == str(row["reference"])) + 0.25


def test_every_response_has_the_outcome_and_the_reward_of_its_lot_and_no_failure_has_any(run: Path) -> None:
    rows = kept(run, "responses")
    assert len(rows) == STEPS * GROUPS * SIZE
    assert {Outcome(row["outcome"]) for row in rows} == set(Outcome), "a run that knows no failure shows nothing"
    assert [(row["outcome"], row["reward"]) for row in rows] == [expected(row) for row in rows]
    assert all(row["failure"] and not row["parts"] for row in rows if row["reward"] is None)


def test_a_function_of_the_users_is_told_of_the_row_the_group_and_the_seed(run: Path) -> None:
    seed = load(run / "config.toml").run.seed
    rows = [row for row in kept(run, "responses") if row["reward"] is not None]
    assert [row["parts"]["told"] for row in rows] == [seed_of_response(seed, row["group"], row["member"]) % 1000 for row in rows]
    assert all(row["columns"] == {"prompt": row["prompt"]} for row in rows)


def test_means_are_over_what_was_scored(run: Path) -> None:
    rows = kept(run, "responses")
    for line in metrics(run)[1:]:
        mine = [row for row in rows if row["file"] == f"step_{line['step']:06d}"]
        scored = [row["reward"] for row in mine if row["reward"] is not None]
        assert line["reward/mean"] == pytest.approx(sum(scored) / len(scored))
        assert line["reward/part/http"] == 0.5
        outcomes = Counter(row["outcome"] for row in mine)
        assert {o: line[f"reward/{o}"] for o in Outcome if o != "scored"} == {o: outcomes[o] for o in Outcome if o != "scored"}
        assert line["reward/failures"] == len(mine) - len(scored)


def test_the_ledger_accounts_for_every_group_and_every_response(run: Path) -> None:
    position = read_position(Checkpoints(load(run / "config.toml")).newest())
    ledger = Ledger(run / "ledger.db")
    assert ledger.faults(position.next_group, position.pending) == []
    ledger.close()
    rows = kept(run, "responses")
    with sqlite3.connect(run / "ledger.db") as db:
        learned = db.execute("SELECT group_id, unscored, reward FROM groups WHERE outcome = 'learned'").fetchall()
    assert len(learned) == STEPS * GROUPS
    for group, unscored, reward in learned:
        rewards = [row["reward"] for row in rows if row["group"] == group]
        scored = [reward for reward in rewards if reward is not None]
        assert len(rewards) == SIZE
        assert unscored == SIZE - len(scored)
        assert reward == (pytest.approx(sum(scored) / len(scored)) if scored else None)


def test_an_error_names_the_users_line_and_the_row_and_its_traceback_is_in_the_log(run: Path) -> None:
    raised = [row for row in kept(run, "responses") if fate(row["response"], row["reference"]) == "raise"]
    place = f"{run.parent}/rewards/mine.py"
    for row in raised:
        assert row["failure"].startswith(f"error: RuntimeError: injected ({place}:"), row["failure"]
        assert f"train.jsonl line {int(row['prompt_id']) + 1}; response {row['response']!r}; the traceback is in logs/" in row["failure"]
    assert raised
    log = (run / "logs" / "reward-0.log").read_text()
    assert f'File "{place}", line ' in log
    assert "RuntimeError: injected" in log
    assert "rewards/mine.py:sometimes: " in (run / "terminal.txt").read_text(), "it was tried before anything started"


def test_what_kills_workers_is_kept_with_its_text(run: Path) -> None:
    quarantined = kept(run, "quarantine")
    assert quarantined
    assert all(fate(row["response"], row["reference"]) == "die" for row in quarantined)
    items = [(row["response"], str(row["reference"])) for row in quarantined]
    assert len(set(items)) == len(items), "an item in quarantine is not run again"


def test_an_audit_of_the_run_finds_what_the_run_found(run: Path) -> None:
    status, text = (run / "audit.txt").read_text().split("\n", 1)
    assert status == "0", text
    assert f"{STEPS * GROUPS * SIZE}" in text
