"""A checker that is right about what it scores and fails, each time alike, at a fifth of the responses: for whole runs."""

import os
import signal
import time
import zlib

FAILURES = ("hang", "die", "raise", "nan")


def fate(response: str, reference: object) -> str:
    """How scoring this response ends: one of FAILURES for one response in five, else "score"."""
    number = zlib.crc32(f"{response.strip()}|{reference}".encode()) % 20
    return FAILURES[number] if number < len(FAILURES) else "score"


def sometimes(response: str, reference: object) -> float:
    """1.0 for the very text, 0.0 for another, unless this response is one of the unlucky."""
    match fate(response, reference):
        case "hang":
            time.sleep(60)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("injected")
        case "nan":
            return float("nan")
    return float(response.strip() == str(reference))


def told(response: str, row: dict[str, str], group: list[str], index: int, seed: int, prompt: str) -> float:
    """The end of the seed, where the other fields are those of this response."""
    if group[index] != response or row["prompt"] != prompt:
        raise RuntimeError(f"told of another response: {row}, {group}, {index}")
    return float(seed % 1000)
