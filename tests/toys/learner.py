"""Small groups for tests of the learner, drawn from a seed."""

import numpy as np

from rollout.types import Finish, Group, Outcome, Prompt, Response, Verdict

VOCABULARY = 11
LONGEST = 6


def toy_group(seed: int, *, members: int = 4, failing: float = 0.0) -> Group:
    """A group with a random prompt, lengths, tokens, log-probs, endings and rewards; `failing` is the share of failed verdicts."""
    rng = np.random.default_rng(seed)
    prompt_ids = rng.integers(1, VOCABULARY, rng.integers(1, 5)).astype(np.int32)
    responses = tuple(
        Response(
            token_ids=rng.integers(1, VOCABULARY, length).astype(np.int32),
            logprobs=-rng.exponential(2.0, length).astype(np.float32),
            finish=list(Finish)[rng.choice(3, p=[0.6, 0.2, 0.2])],
            oldest_version=seed,
            newest_version=seed + 1,
            text="",
        )
        for length in rng.integers(0, LONGEST + 1, members)
    )
    rewards = [None if rng.random() < failing else rng.integers(0, 3) / 2 for _ in responses]
    return Group(
        group_id=seed,
        prompt=Prompt(prompt_id=f"p{seed}", token_ids=prompt_ids, reference=None, checker="toy"),
        responses=responses,
        verdicts=tuple(Verdict.failed(Outcome.CRASHED, "crash") if r is None else Verdict(reward=float(r)) for r in rewards),
    )
