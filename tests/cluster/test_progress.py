import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from cluster.record import progress as module
from cluster.record.progress import EVERY_S, Progress, clock, describe_step

SAID = "checker: cannot read [/INST] 95; no [correction] weighs that"


def test_a_line_that_quotes_a_response_is_printed_as_it_is(capsys):
    Progress(1).say(SAID)
    assert capsys.readouterr().out == f"{SAID}\n"


def test_a_stage_off_a_terminal_says_what_it_waits_for_before_it_waits(capsys: pytest.CaptureFixture[str]):
    with Progress(1).stage(SAID):
        assert capsys.readouterr().out == f"{SAID} ...\n"
    assert capsys.readouterr().out.startswith("  done: 0.")


def test_a_stage_on_a_terminal_may_quote_a_response_too():
    progress = Progress(1)
    progress.console = Console(file=io.StringIO(), force_terminal=True)
    with progress.stage(SAID):
        pass
    assert SAID in progress.console.file.getvalue()


VALUES = {"reward/mean": -0.5, "length/mean": 12345.6, "entropy": 1.25, "seconds/step": 20.0, "tokens_per_second": 9.0}


def steps_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], steps: int, seconds: float) -> list[str]:
    """The lines of a run off a terminal, whose steps take so long; step 5 evaluates."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    shown = Progress(steps)
    for step in range(1, steps + 1):
        now[0] += seconds
        shown.step(step, VALUES | {"seconds/step": seconds} | ({"eval/greedy": 0.75} if step == 5 else {}))
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(45.0, list(range(1, 13))), (EVERY_S, list(range(1, 13))), (10.0, [1, 4, 5, 8, 11, 12]), (1.0, [1, 5, 12])],
)
def test_off_a_terminal_there_is_a_line_a_step_or_every_half_minute_whichever_is_rarer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: float, shown: list[int]
):
    lines = steps_said(monkeypatch, capsys, 12, seconds)
    assert [int(line.split("/")[0].removeprefix("step")) for line in lines] == shown
    assert [line for line in lines if "held-out 0.750" in line] == [line for line in lines if line.startswith("step  5")]


def test_a_line_says_what_a_glance_needs_and_fits_100_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    first, *_, last = steps_said(monkeypatch, capsys, 12, 2000.0)
    assert last.endswith("s a step"), "no time is left"
    assert first == "step  1/12  reward -0.500  length 12,346  entropy 1.250  2,000 s a step  6:06:40 left"
    longest = describe_step(VALUES | {"seconds/step": 2000.0, "eval/greedy": 0.5}, 35_999)
    assert len(f"step 10000/10000  {longest}") <= 100


def test_the_bar_of_a_terminal_has_the_time_left():
    shown = Progress(100)
    shown.console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=100)
    with shown.training(0):
        shown.step(1, VALUES | {"eval/greedy": 0.75})
    text = shown.console.file.getvalue()
    assert "33:00 left" in text
    assert max(len(line) for line in re.sub(r"\x1b\[\??\d*\w", "", text).replace("\r", "\n").splitlines()) <= 100
    assert "1/100" in text
    assert "step 1: held-out correctness 0.750" in text


def test_a_group_that_is_late_is_named_in_the_bar_until_the_step_is_done_and_elsewhere_as_a_line(capsys: pytest.CaptureFixture[str]):
    late = "group 1234567 on engine 12 and engine 13 takes 4321 s (median 123.4 s)"
    shown = Progress(10_000)
    shown.straggler(late)
    assert capsys.readouterr().out == f"{late}\n"
    shown.console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=110)
    with shown.training(0):
        shown.straggler(late)
        shown.bar.refresh()
        assert late in shown.console.file.getvalue()
        shown.step(1, VALUES)
        assert "entropy" in shown.bar.tasks[0].description


def test_every_eval_set_that_has_a_name_is_said_beside_the_step(capsys: pytest.CaptureFixture[str]):
    Progress(9).step(3, VALUES | {"eval/greedy": 0.5, "eval/math/greedy": 0.25, "eval/code/greedy": float("nan")})
    line, sets = capsys.readouterr().out.splitlines()
    assert "held-out 0.500" in line
    assert sets == "step 3: held-out correctness 0.500, math 0.250"


@pytest.mark.parametrize(("seconds", "said"), [(0, "0:00"), (65.4, "1:05"), (3599.6, "1:00:00"), (129_600, "36 h"), (200_000, "2 d 7 h")])
def test_durations_are_read_at_a_glance(seconds: float, said: str):
    assert clock(seconds) == said


SAYS = """
import sys
from cluster.record.progress import Progress
show = Progress(3)
sys.stdin.readline()
for _ in range(3):
    show.say("a line")
print("still there", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_closed_pipe_or_terminal_does_not_end_the_run(kind: str) -> None:
    """As `train | head -1` or an ssh connection that breaks leaves it."""
    ours, theirs = os.pipe() if kind == "pipe" else os.openpty()
    words = [sys.executable, "-c", SAYS]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        os.close(ours)
        _, said = process.communicate("go\n", timeout=60)
    assert process.returncode == 0
    assert said == ("still there\n" if kind == "pipe" else "")
