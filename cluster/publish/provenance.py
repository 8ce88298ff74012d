"""What each engine proved in a publish, for the ledger."""

from collections.abc import Callable

from cluster.actors.engines import EnginePool
from cluster.publish.publisher import Published
from cluster.record.ledger import Ledger, Proven


def recorded_in(ledger: Ledger, engines: EnginePool) -> Callable[[Published], None]:
    """A function that writes a publish into the ledger, while the engines that proved it are still in their places."""

    def record(published: Published) -> None:
        ledger.published(
            published.version,
            published.weights,
            [Proven(engine.index, getattr(engine, "life", 0), proven_by(published, engine.name)) for engine in engines.alive],
        )

    return record


def proven_by(published: Published, engine: str) -> str:
    """The fingerprint of what an engine proved; empty if it proved nothing. A publish that names no engines has verified all of them."""
    proven = getattr(published, "proven", None)
    return published.weights if proven is None else proven.get(engine, "")
