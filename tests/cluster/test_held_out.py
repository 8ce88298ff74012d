"""Eval sets are asked together and reported apart; sources are reported apart."""

import asyncio
import gc
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from cluster.commands.runs.summary import summary
from cluster.loop.evaluation import EVALUATION, evaluate
from cluster.record.metrics.held_out import describe_correctness
from cluster.record.metrics.metrics import Metrics
from cluster.record.metrics.sources import describe_sources
from rollout.prompts.prompts import EvalSet
from rollout.types import Prompt
from tests.toys.run import run_config, toy_summary


class ToyEngines:
    """Answers a prompt rightly if it is greedy, or if its reference says so; remembers which groups it was asked for."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(rollout=SimpleNamespace(temperature=1.0))
        self.asked: set[tuple[str, int, int]] = set()

    async def respond(self, group_id: int, prompt: Prompt, size: int, *, temperature: float, learned: bool) -> Any:
        self.asked.add((prompt.source, group_id, size))
        await asyncio.sleep(0)
        return SimpleNamespace(summary=toy_summary(group_id, [1.0 if temperature == 0 else prompt.reference] * size))


def eval_set(name: str, samples: int, *references: float) -> EvalSet:
    prompts = [
        Prompt(prompt_id=str(n), token_ids=np.array([n], np.int32), reference=r, checker="exact", source=name)
        for n, r in enumerate(references)
    ]
    return EvalSet(name=name, path=name, samples=samples, prompts=prompts)


def test_every_set_has_its_metrics_and_the_unnamed_one_keeps_its_names_and_seeds() -> None:
    engines: Any = ToyEngines()
    values = asyncio.run(evaluate(engines, [eval_set("", 2, 0.0, 1.0), eval_set("math", 4, 0.0)]))
    assert values == {
        "eval/greedy": 1.0, "eval/pass@2": 0.5, "eval/mean@2": 0.5, "eval/failures": 0.0,
        "eval/math/greedy": 1.0, "eval/math/pass@4": 0.0, "eval/math/mean@4": 0.0, "eval/math/failures": 0.0,
    }  # fmt: skip
    assert {group for name, group, _ in engines.asked if name == ""} == {EVALUATION, EVALUATION + 1}
    alone: Any = ToyEngines()
    asyncio.run(evaluate(alone, [eval_set("math", 4, 0.0)]))
    assert alone.asked == {asked for asked in engines.asked if asked[0] == "math"}
    assert all(EVALUATION < group < 1 << 63 for _, group, _ in alone.asked)


def test_an_evaluation_that_is_cancelled_leaves_no_exception_behind() -> None:
    heard: list[dict[str, Any]] = []

    class SlowEngines(ToyEngines):
        async def respond(self, group_id: int, prompt: Prompt, size: int, *, temperature: float, learned: bool) -> Any:
            await asyncio.sleep(60)

    async def stop_at_once() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        engines: Any = SlowEngines()
        task = asyncio.create_task(evaluate(engines, [eval_set("", 2, 0.0, 1.0), eval_set("math", 2, 0.0)]))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(0.01)
        gc.collect()

    asyncio.run(stop_at_once())
    gc.collect()
    assert heard == []


def test_a_line_names_every_set() -> None:
    assert describe_correctness({"eval/greedy": 0.5, "eval/pass@1": 0.6}) == "held-out correctness 0.500"
    both = {"eval/math/greedy": 0.25, "eval/greedy": 0.5, "eval/aime/greedy": None}
    assert describe_correctness(both) == "held-out correctness 0.500, math 0.250"
    assert describe_correctness({"reward/mean": 1.0}) == ""


def test_the_summary_has_a_line_for_each_set(tmp_path: Path) -> None:
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(0, {"eval/greedy": 0.25, "eval/gsm8k/greedy": 0.5})
    metrics.write(9, {"eval/greedy": 0.75, "eval/gsm8k/greedy": 0.625})
    metrics.close()
    lines = summary(tmp_path)
    assert "held-out 0.250 -> 0.750 correctness of greedy responses" in lines
    assert "gsm8k    0.500 -> 0.625 correctness of greedy responses" in lines


def test_sources_are_counted_apart_and_one_without_groups_has_no_means() -> None:
    learned = [
        replace(toy_summary(0, [1.0, None], lengths=[4, 8]), source="a", truncated=np.array([False, True])),
        replace(toy_summary(1, [0.0, 0.5]), source="b"),
    ]
    values = describe_sources(["b", "a", "c"], learned, [replace(toy_summary(2, [0.0]), source="a")])
    assert {key: value for key, value in values.items() if key.startswith("source/a/")} == {
        "source/a/reward": 1.0, "source/a/correct": 1.0, "source/a/length": 6.0, "source/a/truncated": 0.5,
        "source/a/groups": 1.0, "source/a/share": 0.5, "source/a/rejected": 1.0, "source/a/failures": 1.0,
    }  # fmt: skip
    assert values["source/b/reward"] == 0.25
    assert values["source/c/groups"] == 0.0
    assert math.isnan(values["source/c/reward"])
