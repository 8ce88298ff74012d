"""Recorded groups, and learner ranks as processes that learn from them."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen2MoeForCausalLM, Qwen3MoeForCausalLM

from configs.families import FAMILIES
from rollout.types import Finish, Group, Outcome, Prompt, Response, Verdict
from tests.toys.families import write_family
from tests.toys.model import shared_expert_config, tiny_config, toy_tokenizer

# Tokens of a micro-batch: with these one of two ranks needs one micro-batch more than the other.
BUDGET, PACKED_BUDGET = 40, 34
LAYERS = 8  # of the model whose loading is looked at: so many that a rank's share and two layers are less than the whole
PARTITIONED = 3  # the ZeRO stage that shards parameters


# By default ZeRO-3 keeps the parameters of so small a model whole beside their shards.
ZERO = "learner.deepspeed.zero_optimization"
BARE = f"{ZERO}.stage3_param_persistence_threshold=0"


def stage(number: int, *more: str) -> list[str]:
    """The overrides of a ZeRO stage."""
    return [f"{ZERO}.stage={number}", *more]


GRPO = 'objective.preset="grpo"'
GRADIENTS = [
    (f"gradient-zero{n}", stage(n, GRPO, f"learner.micro_batch_tokens={BUDGET}", *([BARE] if n == PARTITIONED else []))) for n in (1, 2, 3)
]
PACKED = ["learner.packing=true", f"learner.micro_batch_tokens={PACKED_BUDGET}", "learner.head_chunk_tokens=20"]
PACKED_GRADIENT = ("gradient-packed3", stage(3, GRPO, BARE, *PACKED, "learner.gradient_checkpointing=true"))
# So few tokens a micro-batch make several of them, and an empty one on the rank with fewer tokens.
SMALL = ("learn-small", stage(3, BARE, "learner.micro_batch_tokens=24", "learner.head_chunk_tokens=8"))
CARE = {
    name: (f"care-{name}", stage(int(name[-1]), f"learner.micro_batch_tokens={BUDGET}")) for name in ("zero0", "zero1", "zero2", "zero3")
}
CARE["zero3"][1].extend([BARE, "learner.gradient_checkpointing=true"])
CARE["bfloat16"] = ("care-bfloat16", stage(3, BARE, 'model.dtype="bfloat16"'))
LIVE, R2, R3 = (f"learner.routing={name}" for name in ("live", "replay_learner", "replay_rollout"))
# Routing replay: no sharding and no division of a pass may give a token the experts of another.
REPLAYS = [
    ("replay-zero1", stage(1, GRPO)),
    ("replay-zero2", stage(2, GRPO, f"learner.micro_batch_tokens={BUDGET}", "learner.packing=true")),
    ("replay-zero3", stage(3, GRPO, BARE, f"learner.micro_batch_tokens={BUDGET}", "learner.gradient_checkpointing=true")),
]
# With 20 tokens a micro-batch one rank needs fewer micro-batches.
RESCORINGS = [
    ("rescoring-half1", stage(1, 'model.dtype="bfloat16"')),
    ("rescoring-zero3", stage(3, "learner.micro_batch_tokens=20")),
    ("rescoring-bare3", stage(3, BARE)),
]
RUNS_OF_ONE = [*((f"learn-zero{n}", stage(n)) for n in (0, 1)), *GRADIENTS, ("reference-zero1", stage(1, GRPO)), *REPLAYS]
RUNS_OF_ONE += [("parking-zero0", stage(0))]
RUNS_OF_ONE += [CARE[name] for name in ("zero0", "zero2", "bfloat16")]
SPREAD = "learner.expert_parallel=2"
MEMORIES = [
    ("memory-zero2", stage(2)),
    ("memory-zero3", stage(3, BARE)),
    ("memory-experts2", stage(2, SPREAD)),
    ("memory-experts3", stage(3, BARE, SPREAD)),
]
RUNS_OF_TWO = [
    *((f"learn-zero{n}", stage(n)) for n in (1, 2, 3)),
    SMALL,
    *((f"learn-poisoned{n}", stage(n, 'learner.on_spike="skip"')) for n in (0, 2, 3)),
    *GRADIENTS,
    PACKED_GRADIENT,
    ("reference-zero3", stage(3, GRPO, BARE)),
    *(CARE[name] for name in ("zero1", "zero3")),
    ("care-experts2", stage(2, SPREAD, f"learner.micro_batch_tokens={BUDGET}")),
    ("care-experts3", stage(3, BARE, SPREAD, f"learner.micro_batch_tokens={BUDGET}")),
    *REPLAYS,
    *RESCORINGS,
    *((f"reference-experts{n}", stage(n, GRPO, SPREAD)) for n in (2, 3)),
    ("experts-zero1", stage(1)),
    ("experts-zero2", stage(2, "learner.packing=true")),
    ("experts-zero3", stage(3, BARE, "learner.gradient_checkpointing=true")),
    ("parking-zero2", stage(2)),
    ("parking-bare3", stage(3, BARE)),
    ("parking-experts2", stage(2, SPREAD)),
    *((f"family-{name}", stage(3)) for name in ("qwen2", "mixtral")),
    *MEMORIES,
]

LOADINGS = [
    ("loading-zero3", stage(3, BARE)),
    ("loading-half3", stage(3, 'model.dtype="bfloat16"')),
    *((f"loading-experts{n}", stage(n, SPREAD)) for n in (2, 3)),
]
RUNS_OF_TWO += LOADINGS

# States that two ranks save, and who loads each: the number of ranks, and what else is different.
HALF = 'model.dtype="bfloat16"'
OFFLOAD = f'{ZERO}.offload_optimizer.device="cpu"'
SAVED = {"bare3": stage(3, BARE), "spread2": stage(2, SPREAD), "half3": stage(3, HALF), "zero0": stage(0)}
SAVED |= {"offload2": stage(2, OFFLOAD)}
# Named after a family: one whose shared experts AutoEP renames, and one that has buffers among its weights.
SAVED_FAMILIES = {"qwen2_moe": stage(3, SPREAD), "glm4_moe": stage(3)}
LOADED = [
    (1, "bare3.zero0", stage(0)),
    (1, "bare3.zero3", stage(3)),
    (1, "spread2.zero2", stage(2)),
    (1, "half3.zero0", stage(0, HALF)),
    (2, "bare3.same", stage(3, BARE)),
    (2, "bare3.zero2", stage(2, f"{ZERO}.round_robin_gradients=true", f"{ZERO}.parameter_alignment=true")),
    (2, "bare3.zero1", stage(1)),
    (2, "bare3.spread3", stage(3, SPREAD)),
    (2, "spread2.same", stage(2, SPREAD)),
    (2, "spread2.zero3", stage(3)),
    (2, "half3.same", stage(3, HALF)),
    (2, "half3.float32", stage(1, HALF, 'learner.deepspeed.data_types.grad_accum_dtype="fp32"')),
    (2, "zero0.same", stage(0)),
    (2, "offload2.same", stage(2, OFFLOAD)),
    (2, "zero0.offload3", stage(3, OFFLOAD, f'{ZERO}.offload_param.device="cpu"')),
    (1, "offload2.zero0", stage(0)),
    (2, "qwen2_moe.zero1", stage(1)),
    (1, "glm4_moe.zero0", stage(0)),
    (4, "bare3.zero3", stage(3, BARE)),
    (4, "spread2.spread4", stage(2, "learner.expert_parallel=4")),
    (4, "half3.spread2", stage(2, HALF, SPREAD)),
    (4, "zero0.spread3", stage(3, SPREAD)),
]
# First of all, since ranks of other numbers wait for them.
RUNS_OF_TWO = [*((f"state-{name}.saved", changes) for name, changes in (SAVED | SAVED_FAMILIES).items()), *RUNS_OF_TWO]
RUNS = {1: RUNS_OF_ONE, 2: RUNS_OF_TWO, 4: []}
for ranks, load, changes in LOADED:
    RUNS[ranks].append((f"state-{load}", changes))

CONFIG = """
[model]
path = "{model}"
dtype = "float32"
[data]
train = "unused.jsonl"
max_prompt_tokens = 8
[rollout]
group_size = 4
groups_per_step = 4
max_response_tokens = 8
[learner]
lr = 1e-4
updates_per_step = 2
micro_batch_tokens = 64
packing = false
[objective]
preset = "dapo"
"""


def recorded_groups() -> list[Group]:
    """Four groups of four uneven responses, one of them failed."""
    rng = np.random.default_rng(7)

    def response() -> Response:
        tokens = rng.integers(4, 32, rng.integers(1, 9)).astype(np.int32)
        return Response(
            token_ids=tokens,
            logprobs=-rng.exponential(3.0, len(tokens)).astype(np.float32),
            finish=Finish.STOP,
            oldest_version=0,
            newest_version=0,
            text="",
        )

    def verdict(place: int) -> Verdict:
        return Verdict.failed(Outcome.TIMED_OUT, "timeout") if place == 5 else Verdict(reward=float(rng.integers(0, 2)))

    return [
        Group(
            group_id=g,
            prompt=Prompt(prompt_id=str(g), token_ids=rng.integers(4, 32, 2 + g).astype(np.int32), reference="", checker="exact"),
            responses=tuple(response() for _ in range(4)),
            verdicts=tuple(verdict(4 * g + m) for m in range(4)),
        )
        for g in range(4)
    ]


def write_run(folder: Path) -> None:
    """A small random model with its tokenizer, a config and recorded groups."""
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(folder / "model")
    toy_tokenizer().save_pretrained(folder / "model")
    large = tiny_config()
    large.hidden_size, large.moe_intermediate_size, large.num_experts, large.num_hidden_layers = 128, 128, 8, 4
    Qwen3MoeForCausalLM(large).save_pretrained(folder / "large")
    Qwen2MoeForCausalLM(shared_expert_config()).save_pretrained(folder / "qwen2")
    write_family("mixtral", folder / "mixtral")
    Qwen3MoeForCausalLM(tiny_config(layers=LAYERS)).save_pretrained(folder / "deep")
    for family in FAMILIES:
        write_family(family, folder / "families" / family)
    (folder / "config.toml").write_text(CONFIG.format(model=folder / "model"))
    (folder / "groups.pickle").write_bytes(pickle.dumps(recorded_groups()))


def run_ranks(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Do all runs of RUNS; their results by name and number of ranks. AssertionError with the log's end if a rank fails."""
    said = folder / "ranks.log"
    with said.open("w") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.toys.rank_worker", str(folder)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert program.wait(timeout=500) == 0, said.read_text()[-4000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    return {(name, world): torch.load(folder / f"{name}-{world}.pt") for world, runs in RUNS.items() for name, _ in runs}
