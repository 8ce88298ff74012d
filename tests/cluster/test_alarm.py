"""The alarm over the mismatch of engine and learner: when it is raised, what it names, and how it ends a run."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.causes.chain import first_cause
from cluster.controller import Controller
from cluster.health.alarm import REMEDIES, MismatchAlarm, MismatchTooLarge
from cluster.record.capsules.read import list_capsules
from cluster.record.checkpoint import Checkpoints, Position
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import Metrics, read_metrics
from rollout.prompts.prompts import PromptSet
from tests.toys.controller import PROMPTS, ToyEngines, ToyLearners, ToyPublisher
from tests.toys.run import run_config

NAN = float("nan")


def alarm(routing: str = "live", **mismatch: Any) -> MismatchAlarm:
    sections = {
        "mismatch": {"alarm": 0.01, "share": 0.1, **mismatch},
        "learner": {"routing": routing},
        "rollout": {"capture_routing": True},
    }
    return MismatchAlarm(run_config(Path("x"), **sections))


def follow(alarm: MismatchAlarm, course: list[float | None]) -> list[int]:
    """The steps, from 0, after which something was said."""
    return [step for step, kl in enumerate(course) if alarm.observe({"loss": 1.0} if kl is None else {"mismatch/kl": kl}) is not None]


@pytest.mark.parametrize(
    ("patience", "course", "said"),
    [
        (3, [0.02] * 9, [2]),
        (1, [0.0, 0.02, 0.02, 0.0, 0.02], [1, 4]),
        (3, [0.02, 0.02, 0.0, 0.02, 0.02, 0.02, 0.0], [5]),
        (2, [0.01, 0.01, 0.01], []),
        (2, [0.02, None, 0.02], [2]),
        (2, [0.02, 0.0, None, 0.02], []),
        (2, [NAN, 0.02, 0.02], [1]),
        (2, [NAN, NAN, 0.0, NAN, NAN], [1, 4]),
    ],
)
def test_it_is_raised_once_an_episode_when_its_patience_is_over(patience: int, course: list[float | None], said: list[int]) -> None:
    assert follow(alarm(patience=patience), course) == said


def test_its_metric_counts_the_steps_in_a_row() -> None:
    raised = alarm()
    counts = []
    for kl in (0.02, 0.02, 0.0, 0.02):
        raised.observe({"mismatch/kl": kl})
        counts.append(raised.counted)
    assert counts == [{"mismatch/above": above} for above in (1.0, 2.0, 0.0, 1.0)]
    silent = alarm(alarm=None)
    assert follow(silent, [9.0] * 5) == []
    assert silent.counted == {}


def raised_by(raised: MismatchAlarm, calm: list[dict[str, float]], last: list[dict[str, float]]) -> str:
    """What is said after some calm steps and as many others as its patience is long."""
    for parts in calm:
        assert raised.observe({"mismatch/kl": 0.001, **{f"split/{part}_kl": value for part, value in parts.items()}}) is None
    said = [raised.observe({"mismatch/kl": 0.05, **{f"split/{part}_kl": value for part, value in parts.items()}}) for parts in last]
    assert said[:-1] == [None] * (len(last) - 1)
    assert said[-1] is not None
    return said[-1].message


CALM = [{"numerics": 0.004, "routing": r, "staleness": 0.001} for r in (0.001, 0.002, 0.009)]


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ("routing", {"numerics": 0.005, "routing": 0.030, "staleness": 0.02}),
        ("staleness", {"numerics": 0.005, "routing": 0.010, "staleness": 0.02}),
        # What counts is how much was added: 0.046 and 0.045, then 0.046 and 0.048.
        ("numerics", {"numerics": 0.050, "routing": 0.047, "staleness": 0.02}),
        ("routing", {"numerics": 0.050, "routing": 0.050, "staleness": 0.02}),
        ("staleness", {"numerics": 0.005, "routing": 0.050, "staleness": NAN}),
    ],
)
def test_it_names_the_part_that_grew_most_since_calm_steps(part: str, parts: dict[str, float]) -> None:
    text = raised_by(alarm(), CALM, [{}, {"numerics": 1.0}, parts])
    assert f"what grew most is {part}, split/{part}_kl = " in text
    assert REMEDIES[part] in text
    assert "mismatch/kl is 0.05, above mismatch.alarm = 0.01 for 3 steps in a row" in text
    assert f"up from {0.002 if part == 'routing' else CALM[0][part]:.3g} in calm steps" in text


def test_steps_of_the_episode_are_not_what_it_is_compared_with() -> None:
    course = [{"routing": 0.001}], [{"routing": 5.0}, {"routing": 5.0}, {"routing": 6.0}]
    assert "split/routing_kl = 6, up from 0.001 in calm steps" in raised_by(alarm(), *course)


def test_under_replay_only_the_parts_in_force_are_blamed() -> None:
    grown = {"numerics": 0.005, "routing": 9.0, "staleness": 9.0, "replayed_staleness": 0.04}
    text = raised_by(alarm("replay_rollout"), [{"numerics": 0.004, "replayed_staleness": 0.001}], [grown] * 3)
    assert "what grew most is replayed_staleness" in text
    assert "run.max_staleness" in text


def test_it_says_what_it_cannot_know() -> None:
    assert "no calm step yet" in raised_by(alarm(), [], [{"engine": 0.04, "staleness": 0.01}] * 3)
    assert "split/cut, split/not_held" in raised_by(alarm(), [], [{}] * 3)
    assert "set mismatch.share" in raised_by(alarm(share=0.0), [], [{}] * 3)


def nowhere(*_: object) -> None:
    """No stage of this run stops it."""


class DriftingLearners(ToyLearners):
    """From step 4 on it is too far from its engines."""

    def __init__(self, version: list[int]) -> None:
        super().__init__(version, nowhere)
        self.steps = 0

    async def step(self, *args: Any) -> dict[str, float]:
        self.steps += 1
        return {**await super().step(*args), "mismatch/kl": 0.001 if self.steps < 4 else 0.05, "split/routing_kl": 0.1 * self.steps}


@pytest.mark.parametrize("on_alarm", ["warn", "stop"])
def test_a_run_is_warned_or_ended_with_what_it_learned_on_record(tmp_path: Path, on_alarm: str) -> None:
    run = {"dir": str(tmp_path), "steps": 9, "save_every": 3}
    mismatch = {"alarm": 0.01, "share": 0.1, "on_alarm": on_alarm}
    config = run_config(tmp_path, run=run, mismatch=mismatch, data={"train": "t.jsonl", "max_prompt_tokens": 16})
    said: list[str] = []
    ledger, metrics, version = Ledger(tmp_path / "ledger.db"), Metrics(config, 0), [0]
    ledger.begin(0, 0, ())
    actors: Any = SimpleNamespace(engines=ToyEngines(0, version, nowhere), learners=DriftingLearners(version))
    publisher: Any = ToyPublisher(version, nowhere, ledger)
    show: Any = SimpleNamespace(step=lambda *_: None, say=said.append, follow_window=lambda _: None)
    controller = Controller(config, actors, publisher, PromptSet(prompts=PROMPTS, dropped=0), [], ledger, metrics, show)
    position = Position(step=0, next_group=0, pending=())
    if on_alarm == "warn":
        asyncio.run(controller.run(position))
        assert [text[:23] for text in said] == ["step 6: mismatch alarm;", "warning: step 6: mismat"]
        assert len(read_metrics(tmp_path)) == 9
    else:
        with pytest.raises(ExceptionGroup) as ended:
            asyncio.run(controller.run(position))
        cause = first_cause(ended.value)
        assert isinstance(cause, MismatchTooLarge)
        assert "step 6: " in str(cause)
        assert "routing" in str(cause)
        assert [text.partition(";")[0] for text in said] == ["step 6: mismatch alarm"], "the capsule is kept before the run ends"
        assert [path.name for path in list_capsules(tmp_path)] == ["step_000006"]
        assert [row["mismatch/above"] for row in read_metrics(tmp_path)] == [0, 0, 0, 1, 2, 3]
        assert ledger.db.execute("SELECT max(step) FROM groups WHERE outcome = 'learned'").fetchone() == (6,)
        newest = Checkpoints(config).newest()
        assert newest is not None
        assert newest.name == "step_000003", "step 6 was due, but the run ended before it"
    metrics.close()
    ledger.close()
