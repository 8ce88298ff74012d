import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from cluster.record.progress import Progress

SAID = "checker: cannot read [/INST] 95; no [correction] weighs that"


def test_a_line_that_quotes_a_response_is_printed_as_it_is(capsys):
    Progress(1).say(SAID)
    assert capsys.readouterr().out == f"{SAID}\n"


def test_a_stage_on_a_terminal_may_quote_a_response_too():
    progress = Progress(1)
    progress.console = Console(file=io.StringIO(), force_terminal=True)
    with progress.stage(SAID):
        pass
    assert SAID in progress.console.file.getvalue()


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
