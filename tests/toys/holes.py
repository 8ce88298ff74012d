"""Episodes for tests of the learner: responses with tokens of an environment between the model's turns, and rewritten contexts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rollout.types import Finish, Group, Prompt, Response, Segment, Verdict

LARGEST = 11  # ids of tokens lie below it


def spans(*lengths: int) -> np.ndarray:
    """Turns [K, 2] of a response that begins and ends with one: tokens of the model, of the environment, of the model, ..."""
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], 1)[::2].astype(np.int32)


def episode(*lengths: int, first: int = 1, later: Sequence[Segment] = (), version: int = 0) -> Response:
    """A response whose tokens and log-probs count from `first`; off the turns its log-probs are 0."""
    turns, ids = spans(*lengths), np.arange(first, first + sum(lengths), dtype=np.int32)
    own = np.concatenate([np.full(count, place % 2 == 0) for place, count in enumerate(lengths)])
    return Response(
        token_ids=ids,
        logprobs=np.where(own, -0.1 * ids, 0).astype(np.float32),
        finish=Finish.STOP,
        oldest_version=version,
        newest_version=version,
        text="",
        turns=turns,
        later=tuple(later),
    )


def segment(prompt: Sequence[int], *lengths: int, first: int = 1, version: int = 0) -> Segment:
    """What follows a rewritten context."""
    made = episode(*lengths, first=first, version=version)
    names = ("token_ids", "logprobs", "oldest_version", "newest_version", "turns")
    return Segment(prompt_ids=np.array(prompt, np.int32), **{name: getattr(made, name) for name in names})


def group_of(responses: Sequence[Response], verdicts: Sequence[Verdict], prompt: Sequence[int] = (1, 2, 3)) -> Group:
    made = Prompt(prompt_id="p", token_ids=np.array(prompt, np.int32), reference=None, checker="toy")
    return Group(group_id=0, prompt=made, responses=tuple(responses), verdicts=tuple(verdicts))


def with_episodes(group: Group, seed: int) -> Group:
    """The group with holes in its longer responses, further segments after some, and rewards of turns that add up to those it has."""
    rng = np.random.default_rng(seed)
    responses = [_with_turns(response, rng) for response in group.responses]
    verdicts = []
    for verdict, response in zip(group.verdicts, responses, strict=True):
        turns = sum(len(part.spans) for part in response.segments)
        inner = rng.integers(-1, 2, turns - 1) / 4
        rewards = () if verdict.reward is None else (*inner.tolist(), verdict.reward - inner.sum())
        verdicts.append(replace(verdict, turn_rewards=tuple(map(float, rewards))))
    return replace(group, responses=tuple(responses), verdicts=tuple(verdicts))


def _with_turns(response: Response, rng: np.random.Generator) -> Response:
    turns = _holes(len(response), rng)
    later = []
    for _ in range(int(rng.integers(0, 3)) if len(response) else 0):
        length = int(rng.integers(1, 6))
        part = Segment(
            prompt_ids=rng.integers(1, LARGEST, rng.integers(1, 5)).astype(np.int32),
            token_ids=rng.integers(1, LARGEST, length).astype(np.int32),
            logprobs=-rng.exponential(2.0, length).astype(np.float32),
            oldest_version=response.newest_version,
            newest_version=response.newest_version,
            turns=_holes(length, rng),
        )
        later.append(replace(part, logprobs=_only(part)))
    holed = replace(response, turns=turns, later=tuple(later))
    return replace(holed, logprobs=_only(holed))


def _only(part: Response | Segment) -> np.ndarray | None:
    return None if part.logprobs is None else np.where(part.sampled, part.logprobs, np.float32(0))


def _holes(length: int, rng: np.random.Generator) -> np.ndarray | None:
    """One hole, two or none; the first token and the last are sampled."""
    if length < 3 or rng.random() < 0.2:
        return None
    cuts = sorted(rng.choice(np.arange(1, length), size=4 if length > 5 and rng.random() < 0.5 else 2, replace=False).tolist())
    return spans(*np.diff([0, *cuts, length]).tolist())
