"""A reward of one's own: a function of the response and the row's reference."""


def score(response: str, reference: object) -> float:
    """1 for the right number, 0.1 for any number, 0 for anything else."""
    if response == str(reference):
        return 1.0
    return 0.1 if response.isdigit() else 0.0
