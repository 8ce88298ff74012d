"""What a laboratory run is asked to do: its config and its prompts."""

from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.faults.plan import GROUPS_PER_STEP, Shape
from configs.schema import Config
from rollout.types import Prompt

PROMPTS = [Prompt(prompt_id=f"q{n}", token_ids=np.array([1, n], np.int32), reference="", checker="exact") for n in range(23)]


@cache
def config_of(folder: Path, shape: Shape) -> Config:
    """The config of a world's run in a folder."""
    return Config.model_validate(
        {
            "run": {
                "dir": str(folder), "steps": shape.steps, "save_every": shape.save_every, "keep_checkpoints": 2,
                "eval_every": shape.eval_every, "sample_responses": 8,
                "max_staleness": shape.staleness, "deadline_s": shape.times.deadline, "resume": "auto", "seed": shape.seed,
            },
            "model": {"path": "model", "dtype": "float32"},
            "data": {"train": "t.jsonl", "chat_template": False, "max_prompt_tokens": 16, "sampler": "uniform"},
            "rollout": {
                "engines": shape.engines, "groups_per_step": GROUPS_PER_STEP, "group_size": 2, "max_response_tokens": 8,
                "dynamic_sampling": shape.dynamic, "max_refill": 20,
                "stall_s": shape.times.stalled,
                **({} if shape.share else {"restarts": shape.restarts}),
            },
            "learner": {"ranks": shape.ranks, "restarts": shape.restarts, "stall_s": shape.times.stalled},
            "reward": {"checker": "exact", "restarts": shape.restarts},
            "placement": {"share": shape.share},
        }
    )  # fmt: skip
