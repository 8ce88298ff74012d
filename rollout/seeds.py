"""Seeds derived from their purpose, so that each can be computed again without its predecessors."""

from hashlib import blake2b


def derive_seed(*parts: int) -> int:
    """A seed in [0, 2**63), vLLM's range, from whole numbers such as run seed, group id, member and purpose.

    The same parts give the same seed in every process and on every platform; their order matters.
    """
    digest = blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
