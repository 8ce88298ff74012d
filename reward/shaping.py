"""The reward as a sum: correctness in its range, further parts by their weights, DAPO's soft over-long penalty.

```
reward = low + (high - low) * correct * (every part that multiplies) + sum(weight * every part that adds) + over-long penalty
```
"""

import math
from collections.abc import Mapping

from configs.sections.reward import RewardConfig
from rollout.types import OVERLONG, Outcome, Verdict

SECOND = "second"  # the name in `parts` for the score of reward.second, which is not part of the reward
DISAGREE = 0.5  # difference in correctness from which one checker says right and the other wrong


def overlong_penalty(length: int, max_tokens: int, cache: int) -> float:
    """0 up to max_tokens - cache generated tokens, then falling in a line to -1 at max_tokens, and never below.

    `length` counts generated tokens, the stop token included. A cache of 0 switches the penalty off. arXiv 2503.14476, equation 13.
    """
    if length < 0 or max_tokens < 1 or not 0 <= cache <= max_tokens:
        raise ValueError(
            f"need length >= 0, max_tokens >= 1 and 0 <= cache <= max_tokens; got length={length}, max_tokens={max_tokens}, cache={cache}"
        )
    start = max_tokens - cache
    if cache == 0 or length <= start:
        return 0.0
    return max(-1.0, (start - length) / cache)


def shape(config: RewardConfig, correct: Verdict, parts: Mapping[str, Verdict], length: int, max_tokens: int) -> Verdict:
    """The verdict of a whole response from that of its row's checker and those of config.parts, by name.

    A response has no reward where any part failed, because the rest of the sum would be a different reward. `parts` of the result holds
    every number as its checker gave it ("correct" and the parts' names), and "overlong" where that penalty is on. Of an episode with
    rewards inside, the last turn gets what the other turns' rewards, in the unit of the range, leave of the sum.
    """
    for name, verdict in (("", correct), *parts.items()):
        if verdict.outcome is not Outcome.SCORED:
            return Verdict.failed(verdict.outcome, f"part {name!r}: {verdict.failure}" if name else str(verdict.failure))
    numbers = {name: _number(verdict) for name, verdict in parts.items()}
    low, high = config.range
    factor = math.prod(number for name, number in numbers.items() if config.parts[name].how == "multiply")
    added = sum(config.parts[name].weight * number for name, number in numbers.items() if config.parts[name].how == "add")
    reward = low + (high - low) * _number(correct) * factor + added
    numbers_by_name = {"correct": _number(correct), **numbers}
    if config.overlong_cache:
        numbers_by_name[OVERLONG] = overlong_penalty(length, max_tokens, config.overlong_cache)
        reward += numbers_by_name[OVERLONG]
    if not math.isfinite(reward):
        return Verdict.failed(Outcome.UNSCORABLE, f"error: the parts {numbers_by_name} add up to {reward}, which is no reward")
    earlier = [(high - low) * one for one in correct.turn_rewards[:-1]]
    turn_rewards = (*earlier, reward - math.fsum(earlier)) if earlier else ()
    return Verdict(reward=reward, parts=numbers_by_name, turn_rewards=turn_rewards)


def disagrees(verdict: Verdict) -> bool:
    """Whether the row's checker and reward.second disagree about this response."""
    return SECOND in verdict.parts and abs(verdict.parts["correct"] - verdict.parts[SECOND]) >= DISAGREE


def _number(verdict: Verdict) -> float:
    assert verdict.reward is not None
    return verdict.reward
