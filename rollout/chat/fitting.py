"""Words that are too long for their place in the context: cut, and marked as cut."""

from bisect import bisect_right
from collections.abc import Callable

from configs.cut import CUT

CHARACTERS = 32  # of one token, at most; longer tokens are runs of blanks


def fit(words: str, limit: int, spell: Callable[[str], list[int]]) -> tuple[str, list[int]]:
    """The words, or as many of them as `limit` tokens hold together with "[cut]", and their tokens.

    `spell` gives the tokens of a text. ValueError if not even "[cut]" fits.
    """
    if len(words) <= limit * CHARACTERS and len(ids := spell(words)) <= limit:
        return words, ids
    shortest = spell(CUT)
    if len(shortest) > limit:
        raise ValueError(f'rollout.max_reply_tokens = {limit}, but "{CUT}" alone appends {len(shortest)} tokens: raise it above that')
    longest = min(len(words), limit * CHARACTERS)

    def is_too_long(length: int) -> bool:
        return len(spell(words[:length] + CUT)) > limit

    length = bisect_right(range(longest + 1), False, key=is_too_long) - 1
    # A longer text has fewer tokens now and then, so the place found by halving may miss by a few characters.
    while length and is_too_long(length):
        length -= 1
    kept = words[: max(length, 0)] + CUT
    return kept, spell(kept)
