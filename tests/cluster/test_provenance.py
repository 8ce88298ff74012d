"""What engines prove in a publish stands in the ledger, before any of them serves with it."""

from contextlib import closing
from pathlib import Path

from cluster.publish.provenance import recorded_in
from cluster.record.ledger import Ledger
from tests.cluster.test_publisher import Site, at


def test_the_ledger_has_what_each_engine_proved_in_each_publish(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.begin(0, 0, ())
        sent: list[str] = []

        async def work(site: Site) -> None:
            site.publisher.on_proven = recorded_in(ledger)
            sent.append((await site.publish(0)).weights)
            site.pool.bury(site.pool.engines[1], RuntimeError("killed"))
            sent.append((await site.publish(1)).weights)

        at(work)
        rows = ledger.db.execute("SELECT publish, version, engine, life, sent, weights FROM publishes").fetchall()
    assert sent[0] != sent[1]
    assert rows == [
        *((1, 0, engine, 0, sent[0], sent[0]) for engine in (0, 1, 2)),
        *((2, 1, engine, 0, sent[1], sent[1]) for engine in (0, 2)),
    ]


def test_an_engine_whose_proof_fails_is_in_no_publish(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.begin(0, 0, ())

        async def work(site: Site) -> None:
            site.publisher.on_proven = recorded_in(ledger)
            site.engines[2].tampers = {"experts": (9, 9)}
            await site.publish(0)

        at(work)
        assert ledger.db.execute("SELECT DISTINCT publish, engine FROM publishes").fetchall() == [(1, 0), (1, 1)]
