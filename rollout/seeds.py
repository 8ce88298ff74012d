"""Seeds derived from their purpose, so that each can be computed again without its predecessors."""

from hashlib import blake2b

SAMPLED, EVALUATED = 0, 1  # purposes of a request; no two share a seed
WORLD, EVALUATED_WORLD = 2, 3  # purposes of an environment's seed
SEEDS = 2**63  # vLLM's range


def seed_of_response(run_seed: int, group_id: int, member: int, *, evaluated: bool = False) -> int:
    """The seed with which an engine samples one response of a group."""
    return derive_seed(run_seed, group_id, member, EVALUATED if evaluated else SAMPLED)


def seed_of_turn(seed: int, number: int) -> int:
    """The seed of turn 0, 1, 2, ... of a response whose seed is `seed`; that of turn 0 is `seed` itself."""
    return (seed + number) % SEEDS


def seed_of_group(run_seed: int, group_id: int, *, evaluated: bool = False) -> int:
    """The seed of an environment: the same for every response to a prompt, so that they are compared like with like."""
    return derive_seed(run_seed, group_id, EVALUATED_WORLD if evaluated else WORLD)


def derive_seed(*parts: int) -> int:
    """A seed in [0, 2**63), vLLM's range, from whole numbers such as run seed, group id, member and purpose.

    The same parts give the same seed in every process and on every platform; their order matters.
    """
    digest = blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
