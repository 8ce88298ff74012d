"""What is added to the correctness reward: DAPO's soft over-long punishment (arXiv 2503.14476, equation 13)."""

from rollout.types import Verdict


def overlong_penalty(length: int, max_tokens: int, cache: int) -> float:
    """0 up to max_tokens - cache generated tokens, then falling in a line to -1 at max_tokens, and never below.

    `length` counts generated tokens, the stop token included. A cache of 0 switches the punishment off.
    """
    if length < 0 or max_tokens < 1 or not 0 <= cache <= max_tokens:
        raise ValueError(
            f"need length >= 0, max_tokens >= 1 and 0 <= cache <= max_tokens; got length={length}, max_tokens={max_tokens}, cache={cache}"
        )
    start = max_tokens - cache
    if cache == 0 or length <= start:
        return 0.0
    return max(-1.0, (start - length) / cache)


def shape(verdict: Verdict, length: int, max_tokens: int, cache: int) -> Verdict:
    """The verdict with the over-long punishment added to its correctness; a failure is returned as it is.

    `parts["correct"]` keeps the raw correctness, so dynamic sampling can look at it and shaping twice adds nothing.
    """
    if verdict.reward is None:
        return verdict
    correct = verdict.parts.get("correct", verdict.reward)
    overlong = overlong_penalty(length, max_tokens, cache)
    return Verdict(reward=correct + overlong, parts={**verdict.parts, "correct": correct, "overlong": overlong})
