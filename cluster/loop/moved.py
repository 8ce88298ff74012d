"""What a publish moved and cost, as metrics of its step."""

from cluster.publish.publisher import Published


def describe_publish(published: Published) -> dict[str, float]:
    """Bytes, seconds and engines of a publish; seconds of each arrow of the turns where GPUs are shared."""
    return {
        "publish/bytes": float(published.bytes),
        "publish/seconds": published.seconds,
        **{f"turns/{arrow}": seconds for arrow, seconds in published.turns.items()},
        "engines": float(published.engines),
    }
