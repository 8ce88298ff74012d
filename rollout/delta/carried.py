"""The digest of a tensor after changes. Without torch, which the driver does not import."""

from rollout.transfer.proof import Digest

MODULUS = 1 << 64


def carried(digest: Digest, removed: Digest, added: Digest) -> Digest:
    """The digest of a tensor in which some numbers have been replaced."""
    total, placed = (_signed(old - less + more) for old, less, more in zip(digest, removed, added, strict=True))
    return total, placed


def _signed(value: int) -> int:
    """As a signed 64-bit number, which is how sums of int64 end."""
    return (value + MODULUS // 2) % MODULUS - MODULUS // 2
