"""The task `sums`: two-digit addition. Every sum is either for training or held out."""

import random

from learner.tiny.rows import Row

HELD_OUT = 256


def split_sums(seed: int, held_out: int = HELD_OUT) -> tuple[list[Row], list[Row]]:
    """All 8,100 sums of two two-digit numbers in a shuffled order, as disjoint (train, eval) rows."""
    rows = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 100) for b in range(10, 100)]
    random.Random(seed).shuffle(rows)
    return rows[held_out:], rows[:held_out]
