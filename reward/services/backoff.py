"""The pauses before a request to a service is repeated."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_S = 0.5
LONGEST_S = 30.0
LONGEST_ASKED_S = 60.0  # where a service asks for a longer pause, the response fails


def pause_before(attempt: int) -> float:
    """Seconds before a repeated try (1 is the first); they double, and are drawn at random so that callers do not return together."""
    return longest_pause_before(attempt) * random.uniform(0.5, 1.0)


def longest_pause_before(attempt: int) -> float:
    """The largest value of `pause_before`."""
    return min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, 60))  # a float would overflow at about a thousand


def asked_pause(header: str | None) -> float:
    """Seconds that a Retry-After header asks for, by a number or a date; 0.0 where it has neither."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
        return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):  # no date, or a date with an impossible offset
        return 0.0
