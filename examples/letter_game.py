"""An environment: the model guesses a letter and is told after each guess where the secret one is."""

from collections.abc import Generator
from string import ascii_lowercase


def find(said: str, secret: str) -> Generator[str, str, float]:
    """1.0 if the model says the letter while it has turns left, else 0.0; what is no letter ends the game."""
    while len(said) == 1 and said in ascii_lowercase:
        if said == secret:
            return 1.0
        said = yield "up" if said < secret else "down"
    return 0.0
