"""Prompts that still teach come up more often: an estimate of how often each is solved, and an order by its weight."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SOLVED = 0.9  # a prompt counts as solved above this estimated chance of a right response, and as hopeless below 1 - SOLVED
PRIOR = 0.5  # Jeffreys' prior: before any response, a prompt is likelier always or never solved than half the time
PER_PROMPT = ("right", "wrong", "as_of", "weight", "place", "due")  # the arrays [size] of a saved state


class DifficultyStream:
    """Which prompt each group gets: prompts that are sometimes solved come up more often than those solved always or never.

    *Estimate.* Right and wrong responses are counted for each prompt; a count halves within `half_life` epochs of groups. A prompt's
    chance p of a right response is estimated as Beta(1/2 + right, 1/2 + wrong), and its weight is floor + (1 - floor) * E[4 p (1 - p)].

    *Order.* Each prompt's time is cut into cells of length 1 / weight, and it comes up once in every cell, at a random place. Equal
    weights make this a fresh shuffle every epoch. A prompt never waits for more than 2 * size * (1 + 1 / floor) groups: until it has
    passed two cells, time grows by at most 2 / floor, in which no other comes up more than 2 / floor + 2 times.

    Weights change in `end_step` only, so the moment at which a group is submitted decides nothing.
    """

    def __init__(self, size: int, seed: int, *, floor: float, half_life: float) -> None:
        if not 0 < floor <= 1:
            raise ValueError(f"data.difficulty_floor got {floor:g}, needed a share above 0 and at most 1: use one, 0.1 for example")
        self.size, self.seed, self.floor, self.half_life = size, seed, floor, half_life
        self.drawn = 0  # groups whose prompt is decided: 0 to drawn - 1
        self.clock = 0.0  # time of the latest draw
        self.chosen: dict[int, int] = {}  # prompts of the groups that are not settled
        self.right, self.wrong = np.zeros(size), np.zeros(size)  # counts as of `as_of`
        self.as_of = np.full(size, -1.0)  # the latest group that counted, -1 for none
        self.weight = self._weigh(PRIOR + self.right, PRIOR + self.wrong)
        self.place = np.random.default_rng(seed).random(size)  # where in its cell the prompt comes up next
        self.due = self.place / self.weight  # the time of that place

    def epoch(self, group_id: int) -> int:
        """The group's epoch: completed passes over as many groups as there are prompts."""
        return group_id // self.size

    def index(self, group_id: int) -> int:
        """The prompt of this group: decided in the order of groups, and remembered until the group is observed."""
        while self.drawn <= group_id:
            self.chosen[self.drawn] = self._draw(self.drawn)
            self.drawn += 1
        if group_id not in self.chosen:
            raise ValueError(
                f"group {group_id} is settled, so its prompt is no longer known: ask for it before it is observed, or ask for a later group"
            )
        return self.chosen[group_id]

    def observe(self, group_id: int, correct: Floats) -> None:
        """Settle a group: add the correctness of its responses [G], clipped to 0..1, to the counts; skip what is not finite."""
        prompt = self.chosen.pop(group_id)
        known = correct[np.isfinite(correct)].clip(0, 1)
        if known.size == 0:
            return
        before, now = self.as_of[prompt], max(self.as_of[prompt], float(group_id))
        old, new = self._remembered(now - before), self._remembered(now - group_id)
        self.right[prompt] = old * self.right[prompt] + new * known.sum()
        self.wrong[prompt] = old * self.wrong[prompt] + new * (1 - known).sum()
        self.as_of[prompt] = now

    def end_step(self) -> dict[str, float]:
        """Use everything observed so far from now on; returns metrics of the new estimates."""
        remembered = self._remembered(self.drawn - self.as_of)
        right, wrong = PRIOR + self.right * remembered, PRIOR + self.wrong * remembered
        weight = self._weigh(right, wrong)
        # The rest of the way to a prompt's next turn stays the same part of its cell, whatever the new cell's length.
        self.due = (self.due - self.clock) * self.weight / weight
        self.clock, self.weight = 0.0, weight
        chance = right / (right + wrong)
        return {
            "sampler/seen": float((self.as_of >= 0).mean()),
            "sampler/weight": float(weight.mean()),
            "sampler/effective": float(weight.sum() ** 2 / (weight**2).sum()),
            "sampler/solved": float((chance > SOLVED).mean()),
            "sampler/hopeless": float((chance < 1 - SOLVED).mean()),
        }

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of everything that decides the next prompts."""
        arrays: dict[str, NDArray[np.generic]] = {name: getattr(self, name).copy() for name in PER_PROMPT}
        chosen = np.array(list(self.chosen.items()), np.int64).reshape(-1, 2)
        return arrays | {"drawn": np.array(self.drawn), "clock": np.array(self.clock), "chosen": chosen}

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue where `state` was taken."""
        mine = self.state()
        if state.keys() != mine.keys() or any(state[name].shape != mine[name].shape for name in PER_PROMPT):
            raise ValueError(
                f'the checkpoint has no difficulty estimates for these {self.size} prompts: data.sampler = "difficulty" continues only '
                "runs that began with it and with the same data"
            )
        for name in PER_PROMPT:
            setattr(self, name, state[name].copy())
        self.drawn, self.clock = int(state["drawn"].item()), float(state["clock"].item())
        self.chosen = {int(group_id): int(prompt) for group_id, prompt in state["chosen"].tolist()}

    def _draw(self, group_id: int) -> int:
        prompt = int(self.due.argmin())
        self.clock = float(self.due[prompt])
        place = np.random.default_rng([self.seed, group_id]).random()
        self.due[prompt] += (1 - self.place[prompt] + place) / self.weight[prompt]
        self.place[prompt] = place
        return prompt

    def _remembered(self, age: Floats | float) -> Floats:
        """What a count of 1 has decayed to after `age` groups."""
        return np.exp2(-np.asarray(age) / (self.half_life * self.size))

    def _weigh(self, right: Floats, wrong: Floats) -> Floats:
        """How much a prompt can teach, for p ~ Beta(right, wrong): the expected spread of its rewards, scaled to floor..1."""
        both = right + wrong
        return self.floor + (1 - self.floor) * 4 * right * wrong / (both * (both + 1))
