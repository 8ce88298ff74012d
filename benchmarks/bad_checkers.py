"""Checkers that misbehave, for the benchmark of the reward pool."""

import ctypes
import os
import time


def hang_asleep(response: str, reference: object) -> float:
    while True:
        time.sleep(1)


def hang_busy(response: str, reference: object) -> float:
    while True:
        pass


def segfault(response: str, reference: object) -> float:
    ctypes.string_at(0)
    return 1.0


def exit_at_once(response: str, reference: object) -> float:
    os._exit(3)


def eat_memory(response: str, reference: object) -> float:
    """Allocate and write to all the memory there is."""
    eaten = []
    while True:
        eaten.append(b"x" * (16 * 2**20))
