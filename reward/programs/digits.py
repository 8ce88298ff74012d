"""Integers of any number of digits in references: Python refuses to read or write more than 4,300 unless it is asked to."""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

LOCK = threading.RLock()  # the limit is one for the whole process


@contextlib.contextmanager
def any_digits() -> Iterator[None]:
    """Lift the limit for a moment. For the user's own data: of a response's text, long numbers may take minutes."""
    with LOCK:
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        try:
            yield
        finally:
            sys.set_int_max_str_digits(before)


def read_long_json(text: str) -> Any:
    """The value of a JSON text of the user's; ValueError where it is none."""
    with any_digits():
        return json.loads(text)
