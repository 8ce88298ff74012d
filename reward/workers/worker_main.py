"""A reward worker: a fork of the template that runs checkers on the chunks it gets, one response after the other.

`reward.workers.template_main` forks it, and `reward.workers.worker_owner` speaks to it as `reward.workers.protocol` says. It imports
neither torch nor ray nor numpy, so its address space is what the checkers use.
"""

import gc
import json
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn

from configs.digits import read_long_json
from reward.checker import Score
from reward.checkers import get_checker, load_checker, own_score
from reward.episodes.transcript import Transcript
from reward.own.function import OwnFunction
from reward.own.words import named
from reward.pool_tool import PoolTool
from reward.processes.prctl import die_with
from reward.programs.limits import CodeLimits
from reward.workers.protocol import Message, State
from reward.workers.urgency import lower, take_time

MAX_FAILURE_CHARS = 800
LEFT_OVER = 0.1  # of the memory limit: earlier items may leave so much behind without being to blame
KILLED_FIRST = "1000"  # of /proc/self/oom_score_adj: out of memory, the kernel ends reward workers before anything else


@dataclass(frozen=True, slots=True)
class Job:
    """What a new worker gets: its descriptors, and whether it is for a slow item."""

    channel: int
    claims: int  # -1 for a held world, which claims nothing
    output: int
    aside: bool


def be_worker(template: int, job: Job, limits: CodeLimits, warm: Sequence[str], polite: bool) -> NoReturn:
    """Turn a fork of the process `template` into a worker, which serves until its owner closes the channel.

    warm: the checkers that the template has imported. polite: whether a process may take idle time only and undo that.
    """
    confine(template, job.output)
    if job.aside:
        lower(os.getpid())
    else:
        rehearse(warm, polite)
    if isinstance(sys.__stdout__, TextIOWrapper):
        sys.__stdout__.reconfigure(line_buffering=True)  # most workers are killed, and what waits to be flushed is lost
    loaded = {name: own_score(name, limits) for name in warm}
    Worker(socket.socket(fileno=job.channel), job.claims, limits, loaded).serve()
    os._exit(0)  # functions that checkers registered for the template's exit must not run in every worker


def confine(template: int, output: int) -> None:
    """Give this process a group of its own, which ends with the template, and have it print into its own pipe.

    Not a session: the kernel's autogroup divides the cores among sessions first, so a lowered worker in a session of its own would get a
    whole share.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    die_with(template, signal.SIGKILL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    with suppress(OSError):  # a wish, not a need: some containers forbid it
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)


def rehearse(names: Sequence[str], polite: bool) -> None:
    """Use the checkers once in a fresh worker, so that its first item does not wait for pages and caches.

    In time that no other process wants: workers that score must not wait for it. The owner hurries a worker that is needed sooner.
    """
    if polite:
        take_time(os.SCHED_IDLE)
    for name in names:
        checker = get_checker(name)
        if checker.rehearsal is not None:
            checker.score(*checker.rehearsal)
    if polite:
        take_time(os.SCHED_OTHER)


def address_space() -> int:
    """Bytes of this process that count against its limit."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def score(checker: Score, item: int, response: str, reference: object, fields: Mapping[str, Any]) -> Message:
    """Run the checker once, a function of the user's with the fields that it asks for.

    Every exception becomes a FAILED message, except MemoryError, which is raised.
    """
    try:
        reward: object = checker(response, reference, fields) if isinstance(checker, OwnFunction) else checker(response, reference)
        if not isinstance(reward, Real):
            raise TypeError(f"checker returned {type(reward).__name__}, needed a number")
        if not math.isfinite(reward):
            raise ValueError(f"checker returned {reward!r}, needed a finite number")
        return Message(state=State.SCORED, item=item, reward=float(reward))
    except MemoryError:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: a checker must not end its worker politely
        if not isinstance(checker, OwnFunction):
            return failed(item, named(error))
        checker.report(error, response)
        return failed(item, checker.describe(error, fields))


def play(checker: OwnFunction, item: int, transcript: Transcript, reference: object, fields: Mapping[str, Any]) -> Message:
    """Run an environment over the turns so far. Every exception becomes a FAILED message, as in `score`."""
    try:
        ran = checker.play(transcript, reference, fields)
        answered = ran.answered
        said = {} if answered is None else {"words": answered} if isinstance(answered, str) else {"messages": json.dumps(answered)}
        rewards = [*ran.rewards] if any(ran.rewards[:-1]) else []
        return Message(state=State.SCORED, item=item, reward=ran.reward, words=said, turns=rewards)
    except MemoryError:
        raise
    except BaseException as error:
        checker.report(error, transcript.turns[-1].said)
        return failed(item, checker.describe(error, fields))


def call_tool(tool: PoolTool, item: int, arguments: str) -> Message:
    """Run a tool once with these arguments, a JSON object. Every exception becomes a FAILED message, as in `score`."""
    try:
        return Message(state=State.SCORED, item=item, words=tool.call(read_long_json(arguments)))
    except MemoryError:
        raise
    except BaseException as error:
        tool.report(error, arguments)
        return failed(item, tool.describe(error))


def about_reference(checker: OwnFunction, item: int, reference: object) -> Message:
    """What a function of the user's says of a reference: a right response, if it determines one, or why it cannot be used."""
    try:
        gold = checker.gold(reference)
    except MemoryError:
        raise
    except BaseException as error:  # as in `score`
        return failed(item, checker.describe(error))
    words = {"gold turns": json.dumps(gold)} if isinstance(gold, list) else {} if gold is None else {"gold": gold}
    return Message(state=State.SCORED, item=item, reward=1.0, words=words)


def failed(item: int, what: str) -> Message:
    return Message(state=State.FAILED, item=item, failure=f"error: {what}"[:MAX_FAILURE_CHARS])


class Worker:
    """Scores chunks one after the other. `loaded` are the checkers it has, by name; `claims` is an eventfd with a token an item."""

    def __init__(self, channel: socket.socket, claims: int, limits: CodeLimits, loaded: dict[str, Score]) -> None:
        self.channel, self.claims, self.limits, self.loaded = channel, claims, limits, loaded
        self.at_start = address_space()

    def send(self, message: Message) -> None:
        self.channel.sendall(message.encode())

    def serve(self) -> None:
        """Score every chunk until the owner closes the channel."""
        self.send(Message(state=State.STARTED))
        for line in self.channel.makefile("rb", buffering=1 << 16):
            for item, (name, response, reference, *fields) in enumerate(read_long_json(line)):
                if not self.claim():
                    self.send(Message(state=State.DROPPED))
                    break
                try:
                    self.send(self.judge(item, name, response, reference, fields[0] if fields else {}))
                    continue
                except MemoryError:
                    pass  # leave the handler, so that the checker's frames and their objects are freed
                self.send(Message(state=self.whose_memory(), item=item))
                sys.exit("out of memory")

    def whose_memory(self) -> State:
        """FILLED when the last item alone filled the address space, so that little is in use once its frames are gone; else MEMORY."""
        gc.collect()
        left, limit = address_space(), resource.getrlimit(resource.RLIMIT_AS)[0]
        return State.FILLED if left - self.at_start < LEFT_OVER * limit else State.MEMORY

    def claim(self) -> bool:
        """Claim the next item; False where the owner has taken back the rest of the chunk."""
        try:
            return bool(os.eventfd_read(self.claims))
        except BlockingIOError:
            return False

    def judge(self, item: int, name: str, response: str | dict[str, Any] | None, reference: object, fields: Mapping[str, Any]) -> Message:
        """The reward of one response, or how its checker failed."""
        if name not in self.loaded:
            self.send(Message(state=State.LOADING, item=item))
            try:
                self.loaded[name] = load_checker(name, self.limits)
            except MemoryError:
                raise
            except (Exception, SystemExit) as error:
                return failed(item, named(error))
            self.send(Message(state=State.LOADED, item=item))
        checker = self.loaded[name]
        if response is None:
            assert isinstance(checker, OwnFunction), f"only functions of the user's are asked about references here, got {name!r}"
            return about_reference(checker, item, reference)
        if isinstance(response, dict):
            assert isinstance(checker, OwnFunction), f"only functions of the user's have episodes, got {name!r}"
            return play(checker, item, Transcript.read(response), reference, fields)
        if isinstance(checker, PoolTool):
            return call_tool(checker, item, response)
        return score(checker, item, response, reference, fields)
