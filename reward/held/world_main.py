"""The process of a held world: a fork of the template in which one episode's generator stays suspended between turns.

`reward.held.template_main` forks it, and `reward.held.world_owner` speaks to it as `reward.held.protocol` says.
"""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any, NoReturn

from configs.digits import read_long_json
from reward.asked import AGENT
from reward.checkers import get_checker
from reward.episodes.transcript import EpisodeError
from reward.held.knock import knock
from reward.held.protocol import Kind, Step
from reward.held.steps import Suspended
from reward.own.function import OwnFunction
from reward.programs.limits import CodeLimits
from reward.workers.worker_main import MAX_FAILURE_CHARS, Job, confine


class Left(BaseException):
    """Nobody will ask again: the generator's `finally` blocks run, then the process ends. No `except Exception` catches it."""


def be_world(template: int, job: Job, limits: CodeLimits, warm: Sequence[str], polite: bool) -> NoReturn:
    """Turn a fork of the process `template` into a world, which serves one episode."""
    confine(template, job.output)
    if isinstance(sys.__stdout__, TextIOWrapper):
        sys.__stdout__.reconfigure(line_buffering=True)  # what waits to be flushed is lost when it is killed
    signal.signal(signal.SIGTERM, leave)
    code = 1
    try:
        World(socket.socket(fileno=job.channel)).serve()
        code = 0
    except (Left, ConnectionError):  # nobody waits for its last words
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)  # functions that the user's code registered for the template's exit must not run in every world


def leave(*_: object) -> NoReturn:
    """Raise `Left` wherever this process is, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Left


class World:
    """Answers the owner's lines until the episode ends."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.suspended = Suspended()
        self.function: OwnFunction | None = None

    def serve(self) -> None:
        """Step after step; at the end, however it comes, the generator is closed."""
        try:
            self.answer_lines()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its owner waits for this end already, and kills where it takes too long
            self.close()

    def answer_lines(self) -> None:
        self.send(Step(kind=Kind.STARTED))
        for line in self.channel.makefile("rb", buffering=1 << 16):
            step = self.step(read_long_json(line))
            self.send(step)
            if step.ends:
                return

    def send(self, step: Step) -> None:
        self.channel.sendall(step.encode())

    def step(self, order: dict[str, Any]) -> Step:
        """Do what a line says; whatever the user's code raises becomes a step."""
        try:
            return self.obey(order)
        except Left:
            raise
        except EpisodeError as error:
            return failed(str(error))
        except MemoryError:
            pass  # leave the handler, so that the frames of the user's code are freed
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: an environment must not end its process politely
            if self.function is None:
                raise
            self.function.report(error, str(order.get("said")))
            return failed(self.function.describe(error, order.get("fields")))
        return Step(kind=Kind.MEMORY)

    def obey(self, order: dict[str, Any]) -> Step:
        """Run the generator to its next `yield` or its end; raises what it raises."""
        if "over" in order:
            return self.suspended.over()
        if "begin" not in order:
            return self.suspended.turn(order["said"])
        score = get_checker(order["begin"]).score
        assert isinstance(score, OwnFunction), f"only environments of the user's are held, got {order['begin']!r}"
        score.load()
        function = self.function = score
        if AGENT in order["fields"]:
            knock(order["fields"])
        return self.suspended.begin(lambda: function.result_of(order["said"], order["reference"], order["fields"]))

    def close(self) -> None:
        """Run what the generator wants to do at its end; what it raises is printed, as nobody waits for it."""
        try:
            self.suspended.close()
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            print(f"the environment failed while it was closed: {type(error).__name__}: {error}", file=sys.__stderr__, flush=True)


def failed(what: str) -> Step:
    return Step(kind=Kind.FAILED, failure=f"error: {what}"[:MAX_FAILURE_CHARS])
