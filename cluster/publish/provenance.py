"""What each engine proved in a publish, for the ledger."""

from collections.abc import Mapping

from cluster.actors.fleet.handle import EngineHandle
from cluster.publish.publisher import OnProven
from cluster.record.ledger import Ledger, Proven
from rollout.proof import Proof, fingerprint


def recorded_in(ledger: Ledger) -> OnProven:
    """A function that writes into the ledger what the engines proved, as soon as they have, so that it precedes all that they sample."""

    def record(version: int, sent: Proof, proofs: Mapping[EngineHandle, Proof]) -> None:
        proven = [Proven(engine.index, engine.life, fingerprint(proof)) for engine, proof in proofs.items()]
        ledger.published(version, fingerprint(sent), proven)

    return record
