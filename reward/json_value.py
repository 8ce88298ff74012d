"""The JSON that goes to services and comes from them, without the constants that only Python accepts."""

import json

from configs.digits import write_long_json


def check_json_value(value: object) -> None:
    """Raise ValueError where a value cannot be written as JSON; NaN and infinities cannot."""
    try:
        write_long_json(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"reference must be a JSON value, got {type(value).__name__} ({error})") from None


def read_json(text: bytes) -> object:
    """The value of a JSON text; ValueError where it is not JSON, which has no NaN and no infinities."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def sendable(text: str) -> str:
    """The text with a "?" for each half of a surrogate pair, which is no text in UTF-8."""
    return text.encode(errors="replace").decode()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
