"""A tool: what the model calls it with reaches this function, and what it returns reaches the model."""


def multiply(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
        a: the first number
        b: the second number
    """
    return a * b
