"""A process that vanishes leaves the line that says how to go on; one that ends by itself does not."""

import subprocess
import sys

import pytest

WITHIN = (
    "import os, signal\nfrom cluster.causes.last_words import last_words\nwith last_words(['gatewise: first', 'gatewise: last']):\n    {}\n"
)


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_a_process_that_vanishes_has_its_last_words_said(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHIN.format(end)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-2:] == ["gatewise: first", "gatewise: last"]


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "os.killpg(0, signal.SIGINT)"])
def test_a_process_that_can_speak_says_its_last_words_itself(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHIN.format(end)], capture_output=True, text=True, timeout=60, check=False, process_group=0
    )
    assert "gatewise: " not in done.stderr
