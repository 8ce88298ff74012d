"""The error of a text that is no mathematics this room understands whole."""


class UnreadableError(ValueError):
    """Something in the text has no known meaning; the message names it."""
