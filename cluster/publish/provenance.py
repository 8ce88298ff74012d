"""What engines proved in a publish, and which ones refused changes, for the ledger."""

from collections.abc import Callable, Mapping

from cluster.actors.fleet.handle import EngineHandle
from cluster.publish.patches import OnRefused
from cluster.publish.publisher import OnProven
from cluster.record.ledger import Ledger, Proven
from rollout.transfer.proof import Proof, fingerprint


def recorded_in(ledger: Ledger) -> OnProven:
    """A function that writes into the ledger what the engines proved, as soon as they have, so that it precedes all that they sample."""

    def record(version: int, sent: Proof, proofs: Mapping[EngineHandle, Proof]) -> None:
        proven = [Proven(engine.index, engine.life, fingerprint(proof)) for engine, proof in proofs.items()]
        ledger.published(version, fingerprint(sent), proven)

    return record


def named_in(event: Callable[[str, str, str], object], say: Callable[[str], object]) -> OnRefused:
    """A function that records each engine that refused a patch, and says each reason of an engine once."""
    known: dict[str, str] = {}

    def refused(engine: EngineHandle, why: str) -> None:
        event("whole weights", engine.name, why)
        if known.get(engine.name) != why:
            known[engine.name] = why
            say(f"{engine.name} gets whole weights: {why}")

    return refused
