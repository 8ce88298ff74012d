"""The parts of a selfcheck, judged from the records of runs that went well and of runs that went wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.causes.cause import Cause
from cluster.commands.selfcheck import check
from cluster.commands.selfcheck.attempt import Exported
from cluster.commands.selfcheck.evidence import Evidence
from cluster.commands.selfcheck.flops import training_flops
from cluster.commands.selfcheck.parts.table import AFTER_EXPORT, AFTER_FIRST, AFTER_SECOND, row_of
from cluster.commands.selfcheck.rows import Status
from cluster.commands.selfcheck.scaled.prepare import Prepared, prepare
from cluster.commands.train import PROVING
from cluster.publish.turns import ARROWS
from cluster.record.ledger import Ledger
from configs.schema import Config
from tests.toys.selfcheck import GROUPS, STEP, evidence, write_run

PARTS = {part.key: part for part in (*AFTER_FIRST, *AFTER_SECOND, *AFTER_EXPORT)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The tiny selfcheck on CPU, ready to run; its model is real and small."""
    return prepare(None, tmp_path_factory.mktemp("selfcheck"), full=False, gpus=0)


@pytest.fixture
def config(prepared: Prepared, tmp_path: Path) -> Config:
    return check.with_run(prepared.config, dir=str(tmp_path / "run"))


@pytest.fixture
def found(prepared: Prepared, config: Config) -> Evidence:
    return evidence(prepared, config)


def rewritten(found: Evidence, **changed: Any) -> None:
    """Change numbers of every step."""
    rows = [row | changed for row in found.steps]
    (found.config.run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_runs_in_which_everything_went_well_pass_with_their_numbers(found: Evidence) -> None:
    rows = {part.key: row_of(part, found) for part in (*AFTER_FIRST, *AFTER_SECOND)}
    assert {key: row.status for key, row in rows.items()} == {key: "skipped" if key == "sleep" else "pass" for key in rows}, rows
    assert rows["engine"].numbers == {"engines": 2.0, "start_s": 20.0, "tokens": 320.0, "tokens_per_s": 640.0}
    assert rows["publish"].numbers["gb_per_s"] == pytest.approx(0.04)
    assert rows["publish"].numbers["of_copy"] == pytest.approx(0.004)
    flops = training_flops(found.model, 32, 16.0) / 0.25
    assert rows["learn"].numbers["tflops"] == pytest.approx(flops / 1e12)
    assert rows["learn"].numbers["of_matmul"] == pytest.approx(flops / 1e11)
    assert rows["resume"].numbers == {"after_step": 3, "next_step": 4, "groups": GROUPS}
    assert rows["resume"].seconds == 21.5
    assert rows["publish"].stand_in == "gloo for NCCL, a copy in host memory"


def change_metric(**changed: Any) -> Callable[[Evidence], None]:
    return lambda found: rewritten(found, **{name.replace("__", "/"): value for name, value in changed.items()})


def same_weights(found: Evidence) -> None:
    (found.config.run_dir / "ledger.db").unlink()
    ledger = Ledger(found.config.run_dir / "ledger.db")
    ledger.begin(0, 0, [])
    for step in (1, 2):
        ledger.learned(step, [], "the same")
    ledger.close()


def lose_a_group(found: Evidence) -> None:
    for file in found.config.run_dir.glob("ledger.db*"):
        file.unlink()
    write_run(found.config, {n: STEP for n in range(1, 6)}, skip=1)


def find_no_victim(found: Evidence) -> None:
    found.first.killed = False


def stay_silent(found: Evidence) -> None:
    found.first.said.clear()


def go_on_for_ever(found: Evidence) -> None:
    """A run of one engine that does not notice its death."""
    one = found.config.model_copy(update={"rollout": found.config.rollout.model_copy(update={"engines": 1})})
    found.config = one


@pytest.mark.parametrize(
    ("part", "spoil", "cause"),
    [
        ("engine", change_metric(tokens=0.0), "the engines generated no token"),
        ("engine", lambda found: found.first.stages.clear(), "the run ended without it"),
        ("publish", lambda found: found.first.stages.pop(PROVING), "the run ended without it"),
        ("mismatch_live", change_metric(split__total_kl=0.5), "KL 5.00e-01 nats a token, at most 1e-06 in float32"),
        ("mismatch_live", change_metric(split__total_kl=float("nan")), "is not finite"),
        ("mismatch_live", change_metric(split__tokens=0.0), "no response could be scored again"),
        ("mismatch_replayed", change_metric(split__replayed_kl=0.5), "engine and learner compute different functions"),
        ("mismatch_replayed", change_metric(routing__missing=0.5), "50% of the responses came without the experts"),
        ("learn", change_metric(grad_norm=0.0), "step 1: the gradient is zero"),
        ("learn", change_metric(loss=None), "step 1: loss None, gradient norm 1.5"),
        ("learn", same_weights, "step 2 left the published weights as step 1 made them"),
        ("engine_killed_generating", change_metric(engines=2.0), "2 engines work after the death of one of 2"),
        ("engine_killed_generating", stay_silent, "engine 1 was killed, and the run said nothing about it"),
        ("engine_killed_publishing", go_on_for_ever, "engine 1 was killed in a publish, and the run did not notice"),
        ("resume", lose_a_group, "step 4 took the groups [13, 14, 15, 16], and the data stood at [12, 13, 14, 15, 16]"),
        ("resume", change_metric(loss=None), "step 4: loss None"),
        ("export", lambda _: None, "there is no checkpoint to export"),
    ],
)
def test_a_part_that_went_wrong_fails_with_its_cause(found: Evidence, part: str, spoil: Callable[[Evidence], Any], cause: str) -> None:
    spoil(found)
    row = row_of(PARTS[part], found)
    assert row.status is Status.FAIL
    assert cause in row.cause
    assert "\n" not in row.cause


def test_a_part_that_does_not_apply_says_why(found: Evidence) -> None:
    find_no_victim(found)
    assert row_of(PARTS["engine_killed_generating"], found).cause.startswith("the engine runs on another machine")
    found.config = found.config.model_copy(update={"rollout": found.config.rollout.model_copy(update={"capture_routing": False})})
    assert row_of(PARTS["mismatch_replayed"], found).cause == "the learner cannot replay the router of qwen3_moe"
    found.model = {"model_type": "llama"}
    assert row_of(PARTS["mismatch_replayed"], found).cause == "llama is no mixture of experts"
    found.full = True
    assert row_of(PARTS["export"], found).status is Status.SKIPPED


def test_engines_that_take_turns_must_generate_after_they_woke(found: Evidence) -> None:
    found.config = found.config.model_copy(update={"placement": found.config.placement.model_copy(update={"share": True})})
    assert row_of(PARTS["sleep"], found).cause.startswith("step 2 was learned without sleep, unpark, wake_weights, park, wake_cache")
    rewritten(found, **{f"turns/{arrow}": 0.25 for arrow in ARROWS})
    row = row_of(PARTS["sleep"], found)
    assert row.numbers == {"sleep_s": 0.25, "unpark_s": 0.25, "wake_weights_s": 0.25, "park_s": 0.25, "wake_cache_s": 0.25}
    assert row.seconds == 1.25
    rewritten(found, tokens=0.0)
    assert row_of(PARTS["sleep"], found).cause == "the engines generated no token after they woke"


def test_with_one_engine_the_run_must_end_and_name_it(found: Evidence) -> None:
    go_on_for_ever(found)
    assert row_of(PARTS["engine_killed_generating"], found).status is Status.SKIPPED
    assert found.second is not None
    found.second.cause = Cause(line="ProcessDied: engine 1 (process 7): engine core killed by SIGKILL", role="engine 1")
    assert row_of(PARTS["engine_killed_publishing"], found).numbers == {"run": "ended, naming engine 1"}
    found.second.cause = Cause(line="RuntimeError: Connection reset by peer", role="learner rank 0")
    row = row_of(PARTS["engine_killed_publishing"], found)
    assert row.status is Status.FAIL
    assert row.cause == "engine 1 was killed, but the run blames: learner rank 0: RuntimeError: Connection reset by peer"


def test_an_export_that_failed_gives_its_cause(found: Evidence) -> None:
    found.exported = Exported(folder=None, seconds=1.0, cause="OSError: disk full")
    assert row_of(PARTS["export"], found).cause == "OSError: disk full"
