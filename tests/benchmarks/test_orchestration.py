"""The benchmark of orchestration: the real controller over toy actors on real Ray, and how its figures are made."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.orchestration import config_of, exponents, growth, rows_of
from benchmarks.orchestration_sides import Bare, Seen, Turn, controlled, start_toys, stop_toys
from cluster.actors.session import ray_session
from cluster.record.metrics.metrics import read_metrics

GROUPS, STEPS, MEMBERS, TOKENS = 6, 4, 16, 2048


def test_the_exponent_is_1_where_a_group_costs_the_same_in_every_step_and_2_where_it_costs_as_much_as_all_others() -> None:
    counts = (64, 256, 1024)
    assert exponents([[0.1 * n, 0.001 * n * n] for n in counts], counts) == pytest.approx([1.0, 2.0])
    assert growth([100.0, 100.5, 101.0]) == pytest.approx(0.5)
    assert growth([100.0, 103.0, 100.0, 103.0, 100.0]) == pytest.approx(0.0)


def test_the_warm_up_does_not_count() -> None:
    seen = {n: Seen([Turn(99.0, 99.0), Turn(0.02 * n, 0.01 * n)], [Turn(1.0, 1.0), Turn(0.01 * n, 0.01 * n)]) for n in (64, 256)}
    figures = {row.what: list(row.values) for row in rows_of("one node", seen)}
    assert figures["one node, 64 groups: step / bare Ray"] == pytest.approx([2.0])
    assert figures["one node, 256 groups: CPU time of the driver"] == pytest.approx([1.0])
    assert figures["one node: exponent of seconds against groups"] == pytest.approx([1.0])
    assert figures["one node, 64 groups: step"] == pytest.approx([20.0])


@pytest.mark.end_to_end
def test_both_ways_to_pack_a_group_bring_every_token_to_the_ranks(tmp_path: Path) -> None:
    with ray_session(None):
        for together, ranks in ((True, 2), (False, 2)):
            config = config_of(tmp_path / f"{together}-{ranks}", GROUPS, STEPS, f"learner.ranks={ranks}")
            toys = start_toys(config)
            bare = Bare(config, toys, together=together)
            seen = asyncio.run(controlled(config, toys, bare.step, together=together))  # raises where its audit finds a fault
            stop_toys(toys)
            learned = [row["learned_tokens"] for row in read_metrics(config.run_dir)]
            assert learned == [GROUPS * MEMBERS * TOKENS / ranks] * STEPS
            assert len(seen.ours) == len(seen.between) == len(seen.memory) == STEPS - 2
            assert all(turn.seconds > 0 and turn.cpu > 0 for turn in (*seen.ours, *seen.between))
