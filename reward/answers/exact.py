"""The checker for answers that must be given letter for letter."""

import math

from configs.digits import any_digits


def reference_text(reference: object) -> str:
    """The reference as trimmed text; ValueError when it is not a non-empty string or a finite number."""
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        raise ValueError(f"reference must be a string or a number, got {reference!r} ({type(reference).__name__})")
    if isinstance(reference, float) and not math.isfinite(reference):
        raise ValueError(f"reference must be finite, got {reference!r}")
    with any_digits():
        text = str(reference).strip()
    if not text:
        raise ValueError(f"reference must not be empty, got {reference!r}")
    return text


def check_exact(response: str, reference: object) -> float:
    """1.0 when response and reference are the same text except for white space around them, else 0.0."""
    return float(response.strip() == reference_text(reference))
