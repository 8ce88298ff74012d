"""A reward function as a user writes one, in a file that is named by its path; it reads a file relative to the folder of the run."""

from pathlib import Path

RIGHT = len(Path("configs/tiny_cpu.toml").read_text().splitlines()) > 0


def score(response: str, reference: object) -> bool:
    """Whether the response is the reference."""
    return RIGHT and response.strip() == str(reference)
