"""Actors that answer at once, with objects of the sizes that real ones return: an engine, reward workers and a learner rank on real Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from cluster.actors.learner_actor import ObjectStore
from rollout.transfer.proof import Entry, Manifest, Proof
from rollout.types import GroupSummary, Outcome, Prompt, Sampled, SampledGroup, Verdict
from rollout.window.scored import Text, unpacked

LETTERS = 4  # of a token's text
NAMES = tuple(f"layers.{number}.weight" for number in range(48))
MANIFEST: Manifest = tuple(Entry(name, "float32", (2, 3)) for name in NAMES)
STATS = 60  # metrics that a real rank returns of a step
DEADLINE_S = 600.0


class ToyReward:
    """Every other response is right."""

    async def score(self, responses: Sequence[str]) -> list[Verdict]:
        return [Verdict(reward=float(place % 2), parts={"correct": float(place % 2)}) for place in range(len(responses))]


class ToyEngine:
    """Answers every prompt with the same tokens, of which each group has a copy of its own as soon as Ray writes it."""

    def __init__(self, reward: Any, size: int, tokens: int, words: bool) -> None:
        self.reward, self.words, self.version = reward, words, 0
        self.said = ["word" * (LETTERS * tokens // 4)] * size
        self.tokens = [
            Sampled(
                token_ids=np.full(tokens, member, np.int32),
                logprobs=np.full(tokens, -0.5, np.float32),
                oldest_version=0,
                newest_version=0,
            )
            for member in range(size)
        ]
        self.summary = summary_of(size, tokens)

    async def line(self) -> str:
        return ""  # the same calls as bare Ray's

    async def respond(
        self, group_id: int, prompt: Prompt, size: int, temperature: float | None, texts: int, learned: bool, together: bool = False
    ) -> Any:
        """The parts of a group, as `EngineActor.respond` returns them."""
        verdicts = await self.reward.score.remote(self.said)
        words = [Text(member, self.said[member], verdict) for member, verdict in enumerate(verdicts)]
        seen: dict[str, Any] = {"oldest_version": self.version, "newest_version": self.version}
        summary = replace(self.summary, group_id=group_id, prompt_id=prompt.prompt_id, prompt_tokens=len(prompt.token_ids), **seen)
        tokens = [replace(one, **seen) for one in self.tokens]
        return ((summary, words[:texts]), *([SampledGroup(tuple(tokens))] if together else tokens), *([words] if self.words else []))

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def start_update(self) -> None: ...

    async def join_transfer(self, seat: Any) -> None: ...

    async def receive(self, manifest: Manifest) -> None: ...

    async def update(self, manifest: Manifest, version: int) -> tuple[list[Proof], list[str]]:
        return await self.finish_update(version)

    async def finish_update(self, version: int) -> tuple[list[Proof], list[str]]:
        self.version = version
        return [proof()], []


class ToyRank:
    """Fetches its responses and counts their tokens."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    @ray.method(concurrency_group="ping")
    def ping(self) -> None: ...

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def manifest(self) -> Manifest:
        return MANIFEST

    def join_transfer(self, transport: Any, meeting: Any) -> None: ...

    def send(self) -> Proof:
        return proof()

    def step(self, shared: Any, tokens: Any, recorded: Mapping[Any, Any]) -> dict[str, float]:
        """What a step leaves: as many numbers as a real one."""
        unpacked(shared[0])
        tokens = unpacked(tokens)
        places = list(tokens)
        source = ObjectStore((), tokens, recorded, lambda references: ray.get(references, timeout=DEADLINE_S))
        learned = float(sum(map(len, source.sampled(places))))
        return {"learned_tokens": learned, "loss": 0.1, "entropy": 1.0, **{f"toy/{number}": 1.0 for number in range(STATS)}}

    def snapshot(self) -> None: ...

    def write(self, folder: str) -> dict[str, Any]:
        (Path(folder) / f"rank-{self.rank}.json").write_text("{}")
        return {}


def proof() -> Proof:
    """The digests of a publish."""
    return dict.fromkeys(NAMES, (1, 1))


def summary_of(size: int, tokens: int) -> GroupSummary:
    """A group of equally long responses, every other one right."""
    rewards, none = (np.arange(size) % 2).astype(np.float64), np.zeros(size, np.bool_)
    return GroupSummary(
        group_id=0,
        prompt_id="",
        prompt_tokens=1,
        lengths=np.full(size, tokens),
        rewards=rewards,
        correct=rewards,
        truncated=none,
        aborted=none,
        oldest_version=0,
        newest_version=0,
        outcomes=(Outcome.SCORED,) * size,
        parts={"correct": rewards},
        unfinished=none,
    )
