"""JSON of the user's with integers of any number of digits: Python refuses to read or write more than 4,300 unless it is asked to."""

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


def read_long_json(text: str | bytes) -> Any:
    """The value of a JSON text of the user's; ValueError where it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # perhaps the limit
        with any_digits():
            return json.loads(text)


def write_long_json(value: object, **options: Any) -> str:
    """The JSON text of a value of the user's; TypeError or ValueError where it has none."""
    try:
        return json.dumps(value, **options)
    except ValueError:  # perhaps the limit
        with any_digits():
            return json.dumps(value, **options)
