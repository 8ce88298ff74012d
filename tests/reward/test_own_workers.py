"""Functions of the user's in real workers: what they may do there, what is refused at once, and where their output goes."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from reward.own.name import OwnCodeError
from reward.workers import supervisor
from reward.workers.output_log import OutputLog
from reward.workers.pool import Item, RewardPool
from rollout.types import Verdict

pytestmark = pytest.mark.timeout(60)

BUSY = """
import json, multiprocessing, os, pyarrow, signal, threading, time
from concurrent.futures import ThreadPoolExecutor
print("imported here")
with open("imports.txt", "a") as file:
    file.write("imported\\n")
WORDS = json.load(open("words.json"))
MODEL = bytearray(64 << 20)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: None)

def score(response, reference):
    return 1.0 if response in WORDS else 0.0

def in_threads(response, reference):
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(float, [response, response]))

def in_processes(response, reference):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(float, [response, response]))

def with_alarm(response, reference):
    def late(*_):
        raise TimeoutError("of my own")
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        time.sleep(5)
    except TimeoutError:
        return 0.25

def key(response, reference):
    return os.environ["MY_KEY"]

def says(response, reference):
    print("scored", response)
    raise ValueError("of mine")

def dies(response, reference):
    print("before the end")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def score(items: Sequence[Item], warm: Sequence[str], log: Path | None = None, workers: int = 1) -> list[Verdict]:
    async def main() -> list[Verdict]:
        output = OutputLog(log) if log else None
        async with RewardPool(workers=workers, timeout_s=10, memory_mb=1024, warm=warm, on_output=output.write if output else None) as pool:
            return await pool.score(items)

    return asyncio.run(main())


def test_a_function_works_in_workers_as_it_does_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("busy.py").write_text(BUSY)
    Path("words.json").write_text('["4"]')
    names = ("score", "in_threads", "in_processes", "with_alarm", "key", "says", "dies", "score")
    items = [Item(checker=f"busy.py:{name}", response="4", reference={"any": ["JSON", 1]}) for name in names]
    verdicts = score(items, ["busy.py:score", "./busy.py:in_threads"], log=tmp_path / "logs" / "reward-0.log", workers=2)
    assert [verdict.reward for verdict in verdicts] == [1.0, 8.0, 8.0, 0.25, None, None, None, 1.0]
    assert f"'MY_KEY' ({tmp_path}/busy.py:" in str(verdicts[4].failure)
    assert "reward workers see only the variables PATH, HOME" in str(verdicts[4].failure)
    assert verdicts[5].failure == f"error: ValueError: of mine ({tmp_path}/busy.py:38 in says)"
    assert str(verdicts[6].failure).startswith("crash: ")
    assert Path("imports.txt").read_text() == "imported\n", "workers share one import"
    log = (tmp_path / "logs" / "reward-0.log").read_text()
    assert log.count("imported here") == 1
    assert log.count("before the end") == 2, "what a killed worker printed is not lost"
    assert "scored 4\n" in log
    assert "busy.py:says failed on the response '4':\nTraceback (most recent call last):" in log
    assert 'busy.py", line 38, in says' in log


REFUSED = {
    "import no_such_module\n": "no_such_module is not installed for",
    "import sys\nsys.exit(2)\n": "it calls sys.exit when it is imported",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n": "started 1 threads when it was",
    "import subprocess\nsubprocess.Popen(['sleep', '60'])\n": "started 1 processes when it was imported",
    "block = bytearray(2 << 30)\n": "a worker may use reward.memory_mb of address space",
    # last: its short limit is for no other
    "import time\nprint('loading a model', flush=True)\ntime.sleep(60)\n": "was not imported within 1 s: load what takes long at the "
    "first call; its output ends: loading a model",
}


def test_code_that_no_worker_can_use_is_refused_once_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, (text, said) in enumerate(REFUSED.items()):
        file = tmp_path / f"refused_{number}.py"
        file.write_text(f"{text}def score(response, reference):\n    return 1.0\n")
        if "within" in said:
            monkeypatch.setattr(supervisor, "START_S", 1.0)
        began = time.monotonic()
        with pytest.raises(OwnCodeError, match=f"^checker '{file}:score' ") as refused:
            score([], [f"{file}:score"])
        assert said in str(refused.value)
        assert time.monotonic() - began < 8, "a reason that stays the same is not tried three times"


def test_a_log_stays_small_and_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "reward-0.log"
    log = OutputLog(path, most=40_000)
    log.write(b"the beginning\n")
    for number in range(20_000):
        log.write(b"line %d\n" % number)
    with path.open("ab") as other:
        other.write(b"of another writer\n")
    log.write(b"x" * 1_000_000 + b"the end\n")
    text = path.read_text()
    assert len(text) <= 40_000
    assert text.startswith("the beginning\nline 0\n")
    assert "\n[... left out, so that this file stays below" in text
    assert text.endswith("xthe end\n")
    log.close()


FIELDS = """
import asyncio
SEEN = []
def warm_up(): SEEN.append("warm")
async def score(response, row, group, index, seed, truncated=None):
    await asyncio.sleep(0)
    assert SEEN == ["warm"] and group[index] == response
    return row["level"] + len(group) / 10 + seed / 100 + truncated
score.warm_up = warm_up
score.gold = lambda reference: reference["right"]
def old(a, b): return float(a == b)
async def slow(response, reference): await asyncio.sleep(30)
"""


def test_a_worker_gives_a_function_what_it_asks_for_and_asks_it_about_references(tmp_path: Path) -> None:
    name = str(tmp_path / "fields.py")
    Path(name).write_text(FIELDS)
    group = ("a", 'b"\n')
    items = [
        Item(
            checker=f"{name}:score",
            response=text,
            reference=None,
            fields={"row": {"level": 1}, "index": index, "seed": 2, "truncated": True, "prompt": "?"},
            group=group,
        )
        for index, text in enumerate(group)
    ]
    items += [replace(items[0], fields={**items[0].fields, "row": {"other": 1}}), replace(items[0], fields={})]
    items += [Item(checker=f"{name}:score", response="", reference=reference, of_reference=True) for reference in ({"right": "4"}, {})]
    items += [Item(checker=f"{name}:old", response="4", reference="4", fields={"seed": 1})]

    async def main() -> tuple[list[Verdict], object]:
        async with RewardPool(workers=1, timeout_s=10, memory_mb=1024, warm=[f"{name}:score", f"{name}:old"]) as pool:
            return await pool.score(items), dict(pool.asks)

    verdicts, asks = asyncio.run(main())
    assert [verdict.reward for verdict in verdicts] == [pytest.approx(2.22), pytest.approx(2.22), None, None, 1.0, None, 1.0]
    assert asks == {
        f"{name}:score": ["row", "truncated", "group", "index", "seed", "brings gold", "brings warm_up"],
        f"{name}:old": [],
    }
    assert "KeyError: 'level'" in str(verdicts[2].failure)
    assert str(verdicts[2].failure).endswith("; row has other: for another column, name it in data.keep_fields")
    assert "it asks for row, truncated, index, seed, needed a caller that has this" in str(verdicts[3].failure)
    assert verdicts[4].words == {"gold": "4"}
    assert f"KeyError: 'right' ({name}:10 in <lambda>)" in str(verdicts[5].failure)


def test_an_async_function_has_a_deadline_as_any_other(tmp_path: Path) -> None:
    name = str(tmp_path / "fields.py")
    Path(name).write_text(FIELDS)

    async def main() -> list[Verdict]:
        async with RewardPool(workers=1, timeout_s=0.3, memory_mb=1024, warm=[f"{name}:slow"]) as pool:
            return await pool.score([Item(checker=f"{name}:slow", response="", reference=None)])

    (verdict,) = asyncio.run(main())
    assert verdict.failure == "timeout: more than 0.3 s to score the response"
