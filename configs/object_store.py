"""What a run needs of Ray's object store on each node, from its config alone.

Engines put the tokens of finished responses, and their recorded experts, into the store of their own node. They stay there until the step
that learns them is done. A learner node fetches the responses of its own ranks, recorded experts only where they are used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

from configs.arithmetic import GB, counted
from configs.expert_plan import recorded_bytes
from configs.schema import Config

TOKEN_BYTES, LOGPROB_BYTES = 4, 4
INLINE_BYTES = 100 * 1024  # Ray keeps a smaller object in the memory of the driver, not in a store
FILLED = 0.8  # of its store is in use when Ray begins to write objects to disk
FEW_TOKENS = 4096  # of a group, whose words are then at most about 20 kB
HOPELESS = 0.02  # of their full length: responses have more tokens than that, so a smaller store is full at every step


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreNeed:
    """Bytes that each engine and each learner rank needs of its node's store if all responses have their full length."""

    engine: float
    rank: float
    response: float  # one response with its recorded experts
    driver: float  # in the memory of the driver's process

    def of(self, engines: int, ranks: int) -> float:
        """Bytes of a node with so many engines and ranks."""
        return engines * self.engine + ranks * self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A node whose store cannot hold responses of full length."""

    hopeless: bool  # it cannot hold short ones either
    text: str


def store_need(config: Config, model: dict[str, Any], engines: int | None = None) -> StoreNeed:
    """The need of a run with `engines` engines, the fewest that it may have if None; `model` is the Hugging Face config.

    Without a known mixture of experts no recorded experts are counted. Nor are the contexts that an environment rewrites: each brings its
    own tokens and recorded experts, on top of the response's.
    """
    rollout = config.rollout
    engines = engines or rollout.fewest_engines
    tokens = rollout.max_response_tokens * response_token_bytes(config)
    experts = config.context_tokens * recorded_bytes(config, model)
    in_flight = config.groups_in_flight
    learned = rollout.groups_per_step * rollout.group_size / config.learner.ranks
    return StoreNeed(
        engine=ceil(in_flight / engines) * rollout.group_size * (tokens + experts),
        rank=learned * (tokens + experts * fetched_share(config)),
        response=tokens + experts,
        driver=in_flight * rollout.group_size * min(tokens, INLINE_BYTES),
    )


def response_token_bytes(config: Config) -> int:
    """Bytes of a response's token with its log-prob."""
    return TOKEN_BYTES + (LOGPROB_BYTES if config.rollout.logprobs else 0)


def words_come_apart(config: Config) -> bool:
    """Whether the words of a group's responses, which a capsule may need, are an object of their own.

    Few words come to the driver with the group's summary instead. It would hold an object of their size anyway, and one more object costs
    more than they do.
    """
    return config.run.keep_capsules > 0 and config.rollout.group_size * config.rollout.max_response_tokens > FEW_TOKENS


def comes_by_line(config: Config) -> bool:
    """Whether the tokens of a group are so few that Ray would keep them in the driver's memory, too, and nothing else comes with them."""
    full = config.rollout.group_size * config.rollout.max_response_tokens * response_token_bytes(config)
    return full <= INLINE_BYTES and not config.rollout.capture_routing and not words_come_apart(config)


def fetched_share(config: Config) -> float:
    """The share of the learned responses whose recorded experts a rank fetches."""
    if not config.rollout.capture_routing:
        return 0.0
    everything = config.learner.routing == "replay_rollout" or not config.mismatch.share
    return 1.0 if everything else float(config.mismatch.share)


def describe_object_store(config: Config, model: dict[str, Any]) -> Iterator[str]:
    """A line: what each engine and each rank needs of Ray's object store."""
    need = store_need(config, model)
    yield (
        f"Ray's object store: up to {size(need.engine)} for each engine (responses in flight) and {size(need.rank)} for each rank (its own "
        f"responses of a step) on their nodes, {size(need.response)} a response of full length; up to {size(need.driver)} in the driver"
    )


def shortage(config: Config, need: StoreNeed, engines: int, ranks: int, store: float, node: str) -> Shortage | None:
    """What is wrong with a node whose object store has `store` bytes, for so many engines and ranks; None if all fits."""
    needed = need.of(engines, ranks)
    if needed <= store * FILLED:
        return None
    share = store * FILLED / needed
    hopeless, limit = share < HOPELESS, config.rollout.max_response_tokens
    if hopeless:
        consequence = f"Responses of {HOPELESS:.0%} of that length would fill it too"
    else:
        consequence = (
            f"It holds them while responses have at most {int(share * limit)} of {limit} tokens on average; above that Ray writes objects "
            "to disk, which is slow, and the run ends when the disk is full"
        )
    there = [counted(count, noun) for count, noun in ((engines, "engine"), (ranks, "learner rank")) if count]
    lower = ["rollout.groups_per_step", "rollout.max_response_tokens", *(["rollout.ahead"] if config.ahead else [])]
    without = ", or set rollout.capture_routing = false" if recorded_bytes_matter(config, need) else ""
    most = needed / FILLED
    return Shortage(
        hopeless=hopeless,
        text=f"Ray's object store on {node} has {size(store)}; its {' and '.join(there)} need up to {size(most)} if all responses have "
        f"their full length. {consequence}: raise it (`ray start --object-store-memory={ceil(most / GB) * int(GB)}`, or "
        f"RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION where a run starts Ray itself), or lower {' or '.join(lower)}{without}",
    )


def recorded_bytes_matter(config: Config, need: StoreNeed) -> bool:
    """Whether recorded experts are most of a response."""
    return need.response > 2 * config.rollout.max_response_tokens * response_token_bytes(config)


def size(count: float) -> str:
    """Bytes with a unit, three digits."""
    unit, name = next((unit, name) for unit, name in ((GB, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if count >= unit or unit == 1)
    return f"{count / unit:.3g} {name}"
