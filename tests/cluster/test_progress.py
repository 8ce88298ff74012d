import io
import os
import re
import subprocess
import sys
import unicodedata

import pytest
from rich.console import Console

from cluster.record.progress.board import EngineNow
from cluster.record.progress.harmless import JOINERS, STEERING, harmless, say
from cluster.record.progress.line import clock, describe_step, step_line
from cluster.record.progress.progress import Progress

SAID = "checker: cannot read [/INST] 95; no [correction] weighs that"


def test_a_line_that_quotes_a_response_is_printed_as_it_is(capsys):
    Progress(1).say(SAID)
    assert capsys.readouterr().out == f"{SAID}\n"


def test_a_stage_off_a_terminal_says_what_it_waits_for_before_it_waits(capsys: pytest.CaptureFixture[str]):
    with Progress(1).stage(SAID):
        assert capsys.readouterr().out == f"{SAID} ...\n"
    assert capsys.readouterr().out.startswith("  done: 0.")


def test_a_stage_on_a_terminal_may_quote_a_response_too():
    progress = watched(1)
    with progress.stage(SAID):
        pass
    assert SAID in progress.console.file.getvalue()


VALUES = {"reward/mean": -0.5, "length/mean": 12345.6, "entropy": 1.25, "seconds/step": 20.0, "tokens_per_second": 9.0}
LONGEST = {"turns/mean": 12.345, "tool/calls": 1234.5, "eval/greedy": 0.5, "seconds/step": 12345.6, "length/mean": 131072.0}


class Screen(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def watched(steps: int, width: int = 100, height: int = 30) -> Progress:
    """Progress on a recording terminal."""
    shown = Progress(steps)
    shown.console = Console(file=Screen(), force_terminal=True, color_system=None, width=width, height=height, record=True, emoji=False)
    return shown


def plain(text: str) -> list[str]:
    """The lines of a terminal's text without what steers it."""
    return re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", text).replace("\r", "\n").splitlines()


def test_a_run_has_a_line_a_step_that_says_what_a_glance_needs(capsys: pytest.CaptureFixture[str]):
    shown = Progress(12)
    for step in range(1, 13):
        shown.step(step, VALUES | {"seconds/step": 2000.0} | ({"eval/greedy": 0.75} if step == 5 else {}))
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split("/")[0].removeprefix("step")) for line in lines] == list(range(1, 13))
    assert lines[0] == "step  1/12  reward -0.500  length 12,346  entropy 1.250  2,000 s a step  6:06:40 left"
    assert lines[4] == "step  5/12  reward -0.500  length 12,346  held-out 0.750  2,000 s a step  3:53:20 left"
    assert lines[-1].endswith("s a step"), "no time is left"


@pytest.mark.parametrize("step", [1, 10_000])
@pytest.mark.parametrize("more", [{}, LONGEST, {"turns/mean": 3.2}, {"tool/calls": 2.0, "turns/mean": 3.2}, {"reward/mean": float("nan")}])
@pytest.mark.parametrize("left_s", [0, 35_999, 200_000])
def test_a_line_fits_100_columns_and_has_the_reward_and_the_time_left(step: int, more: dict[str, float], left_s: float):
    line = step_line(step, 10_000, VALUES | more, left_s)
    assert len(line) <= 100
    assert "reward" in line
    assert ("left" in line) == bool(left_s)


def test_what_is_not_known_of_a_step_is_said_to_be_none():
    assert describe_step({"reward/mean": float("nan"), "seconds/step": 1.0}, 0) == "reward none  entropy none  1 s a step"


def test_the_table_of_a_terminal_has_step_time_engines_window_and_warnings_and_is_gone_in_the_end():
    shown = watched(100)
    shown.follow_engines(lambda: [EngineNow(0, "serving", 3), EngineNow(1, "suspect", 2), EngineNow(2, "starting", 0)])
    with shown.training(4):
        shown.follow_window({"free": 0, "generating": 5, "scoring": 2})
        shown.say("warning: step 3: responses are cut off")
        shown.step(5, VALUES)
        shown.step(6, VALUES | {"reward/mean": 0.5, "eval/greedy": 0.75})
        table = drawn(shown)
    assert [line.rstrip() for line in table] == [
        "step      6/100  ────────────  0:00 so far, 31:20 left  step 7 for 0:00",
        "newest    reward 0.500  length 12,346  held-out 0.750  20 s a step",
        "reward    ▁█  held-out correctness 0.750 at step 6",
        "engines   0 serving 3   1 suspect 2   2 starting",
        "window    5 generating, 2 scoring",
        "warned 1  step 3: responses are cut off",
    ]
    text = plain(shown.console.file.getvalue())
    assert any(line.startswith("step   6/100  reward 0.500") for line in text), "a line a step stays"
    assert max(map(len, text)) <= 100
    shown.say("the end")
    assert shown.console.file.getvalue().endswith("the end\n")


def drawn(shown: Progress, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown.board.draw())
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [100, 60, 20])
def test_a_narrow_terminal_cuts_rows_and_never_adds_some(width: int):
    shown = watched(10, width, height=5)
    shown.follow_engines(lambda: [EngineNow(n, "serving" if n else "dead", n) for n in range(64)])
    with shown.training(0):
        for step in (1, 2):
            shown.step(step, VALUES)
        shown.straggler("group 7 on engine 3 takes 4321 s " * 9)
        shown.say("warning: " + "long " * 99)
        table = drawn(shown, width)
    assert len(table) == 6
    assert max(map(len, table)) <= width
    if width == 100:
        assert "engines   1 dead, 63 serving with 2016 groups   0 dead" in table[3]


HOSTILE = ["\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rstep 9/9  reward 1.000", "one\nstep 9/9", "\u202eto left", "\u2066x",
    "\u200fmark", "\u2028line", "\x00\x08\x7f", "\ud800", "[bold]markup[/bold] :bug:", "\ufeff",
    "<script>alert(1)</script>", "x" * 1_000_000]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("kind", ["log", "terminal"])
def test_a_hostile_text_is_one_line_that_steers_nothing(kind: str, text: str, capsys: pytest.CaptureFixture[str]):
    if kind == "log":
        Progress(3).say(f"warning: {text}")
        said = capsys.readouterr().out
    else:
        shown = watched(3)
        with shown.training(0):
            shown.say(f"warning: {text}")
            shown.straggler(text)
            steered = "".join(drawn(shown))
        said = next(line for line in plain(shown.console.file.getvalue()) if line.startswith("warning:"))
        assert all(unicodedata.category(letter) not in STEERING for letter in steered)
    said = said.removesuffix("\n")
    assert all(unicodedata.category(letter) not in STEERING for letter in said)
    assert len(said) < 2100
    if text.isascii() and text.isprintable() and len(text) < 100:
        assert said == f"warning: {text}"


def test_what_a_command_prints_of_a_run_steers_no_terminal(capsys: pytest.CaptureFixture[str]):
    for text in HOSTILE:
        say(text)
    said = capsys.readouterr().out
    assert {letter for letter in said if unicodedata.category(letter) in STEERING} <= {"\n", *JOINERS}


@pytest.mark.parametrize("text", ["答えは 42", "نص عربي", "क्\u200dष", "👩\u200d🚀 50\u00a0%", "ä 3\u3000x"])
def test_words_of_any_language_are_printed_as_they_are(text: str):
    assert harmless(text) == text


def test_colours_that_are_forced_into_a_file_bring_no_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    shown = Progress(3)
    with shown.stage("starting"), shown.training(0):
        shown.step(1, VALUES)
    assert [line.split(":")[0].split("  reward")[0] for line in out.getvalue().splitlines()] == ["starting ...", "step 1/3", "  done"]


def test_an_output_that_knows_no_such_letter_gets_its_escape(monkeypatch: pytest.MonkeyPatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    Progress(3).say("答え")
    out.flush()
    assert out.buffer.getvalue() == b"\\u7b54\\u3048\n"


def test_a_group_that_is_late_is_named_in_the_table_until_the_step_is_done_and_elsewhere_as_a_line(capsys: pytest.CaptureFixture[str]):
    late = "group 1234567 on engine 12 and engine 13 takes 4321 s (median 123.4 s)"
    shown = Progress(10_000)
    shown.straggler(late)
    assert capsys.readouterr().out == f"{late}\n"
    shown = watched(10_000)
    with shown.training(0):
        shown.straggler(late)
        assert late in "".join(drawn(shown))
        shown.step(1, VALUES)
        assert late not in "".join(drawn(shown))


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
from cluster.record.progress.progress import Progress
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
