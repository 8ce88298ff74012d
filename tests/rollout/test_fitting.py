import time

import pytest

from rollout.chat.fitting import CHARACTERS, fit

FRAME = [1, 2, 3]


def spell(words: str) -> list[int]:
    """Marks around a token for every two characters."""
    return [*FRAME, *(ord(letter) for letter in words[::2])]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", ""),
        ("short", "short"),
        ("x" * 14, "x" * 14),
        ("x" * 15, "xxxxxxxxx[cut]"),
        ("x" * 1_000_000, "xxxxxxxxx[cut]"),
        ("né\n" * 9, "né\nné\nné\n[cut]"),
        ("[cut]" * 9, "[cut][cut[cut]"),
        ("\ud800" * 40, "\ud800" * 9 + "[cut]"),
    ],
)
def test_words_are_kept_as_far_as_their_tokens_fit(words: str, kept: str):
    began = time.perf_counter()
    found, ids = fit(words, 10, spell)
    assert (found, ids) == (kept, spell(kept))
    assert len(ids) <= 10
    assert time.perf_counter() - began < 0.5, "a reply of a million characters costs no more than one that nearly fits"


def test_a_limit_below_the_marks_themselves_is_refused_with_what_is_needed():
    with pytest.raises(ValueError, match=r'rollout\.max_reply_tokens = 5, but "\[cut\]" alone appends 6 tokens: raise it'):
        fit("x" * 100, 5, spell)
    assert fit("x", 4, spell)[0] == "x", "nothing has to be cut"


def test_a_text_of_which_longer_parts_have_fewer_tokens_is_cut_within_the_limit():
    def odd(words: str) -> list[int]:
        return [0] * (len(words) // 2 + 5 * (len(words) % 3 == 0))

    for limit in range(8, 40):
        assert len(fit("y" * CHARACTERS * 40, limit, odd)[1]) <= limit
