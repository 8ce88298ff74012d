"""An environment: the model guesses a number and is told after each guess where the secret is."""

from collections.abc import Generator


def guess(said: str, secret: int) -> Generator[str, str, float]:
    """1.0 if the model says the number while it has turns left, else 0.0; what is no number ends the game."""
    while said.isdigit():
        number = int(said)
        if number == secret:
            return 1.0
        said = yield "higher" if number < secret else "lower"
    return 0.0
