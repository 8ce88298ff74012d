"""Held environments for tests: a good one, and some that misbehave in a turn that the reference names."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from reward.episodes.words import NoMoreTurns, Rewrite, Words, held


@held
def echo(said: str, reference: Any) -> Generator[Any, str, float]:
    """Repeat what was said until it is "end"."""
    turn = 0
    while said != "end":
        turn += 1
        said = yield f"{turn} {said}"
    return float(reference)


@held
def count(said: str, reference: Any) -> Generator[Any, str, float]:
    """A reward of 0.1 for every turn, and what the reference says where no turn is left."""
    try:
        while said != "rewrite":
            said = yield Words(said.upper(), reward=0.1)
        said = yield Rewrite([{"role": "user", "content": "go on"}], reward=0.3)
    except NoMoreTurns:
        return float(reference)
    return 1.0


def log(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


@held
def tidy(said: str, path: str) -> Generator[Any, str, float]:
    """Start a server, and end it in a `finally` block; say so in a file."""
    server = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    log(path, f"server {server.pid}")
    try:
        while said != "end":
            if said == "hang":
                time.sleep(600)
            said = yield "go on"
        return 1.0
    finally:
        server.kill()
        server.wait()
        log(path, "closed")


@held
def slow(said: str, reference: Any) -> Generator[Any, str, float]:
    """A world that takes long to start."""
    time.sleep(30)
    yield "here"
    return 1.0


def segfault() -> None:
    ctypes.string_at(0)


def hang_asleep() -> None:
    time.sleep(600)


def hang_busy() -> None:
    while True:
        pass


def hang_deaf() -> None:
    """Never end, whatever is raised."""
    while True:
        try:
            time.sleep(600)
        except BaseException:
            continue


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(16 << 20))


def leave() -> None:
    raise SystemExit(0)


def exit_at_once() -> None:
    os._exit(3)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def print_for_ever() -> None:
    while True:
        print("x" * 1000)


def fail() -> None:
    raise KeyError("no such thing")


def close_channel() -> None:
    os.closerange(3, 100)
    time.sleep(600)


@held
def misbehave(said: str, reference: dict[str, Any]) -> Generator[Any, str, float]:
    """Do what the reference says in the turn that it names; the answer of another turn is the process id."""
    turn = 1
    while True:
        if turn == reference["turn"]:
            globals()[reference["how"]]()
        if said == "end":
            return 1.0
        said = yield str(os.getpid())
        turn += 1


def of_group(response: str, reference: Any, group: list[str]) -> float:
    """The share of the group that says something else."""
    return sum(text != response for text in group) / len(group)
