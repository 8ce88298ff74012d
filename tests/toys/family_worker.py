"""A run of two steps for each family: `python -m tests.toys.family_worker FOLDER FAMILY...` writes FOLDER/FAMILY/found.pickle.

The engine, the learner, the publisher and the export are those of a run; only Ray is missing. Python, torch, vLLM and DeepSpeed are
imported once. Each family then has a process of its own, forked before any model exists, and so has its engine's core.
"""

import asyncio
import multiprocessing
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import deepspeed  # noqa: F401 - imported here so that no child has to
import numpy as np
import torch
import vllm.model_executor.models.registry as vllm_models
import vllm.v1.engine.core
import vllm.v1.engine.utils as vllm_processes

import rollout.engine.engine  # noqa: F401
from cluster.actors.engine_actor import EngineActor
from cluster.actors.engines import EnginePool, references
from cluster.actors.learners import Learners
from cluster.actors.session import engine_env, learner_env
from cluster.publish import patches
from cluster.publish.identity import prove_identity
from cluster.publish.patches import PatchPublisher
from cluster.publish.publisher import Publisher, PublishFailed
from configs.families import FAMILIES
from configs.loader import load
from configs.object_store import words_come_apart
from configs.schema import Config
from learner.learner import Learner
from learner.weights.source import ZeroWeightSource
from rollout.transfer.proof import fingerprint
from rollout.transfer.transport import Gloo
from rollout.types import Prompt
from rollout.window.scored import Scored
from rollout.worker.weight_receiver import WeightReceiver
from tests.toys.in_process import InProcess, Rank, ShareOfDigits
from tests.toys.spoiled_copies import what_the_proof_says

STEPS = 2
AT_ONCE = 2  # children


class Run:
    """One engine and one rank of a family's model, with the publisher between them."""

    def __init__(self, config: Config, folder: Path) -> None:
        # Whole weights, changes, whole weights. A rule refuses it in float32, where every number changes, and a patch proves most.
        config = config.model_copy(update={"rollout": config.rollout.model_copy(update={"full_every": 2})})
        self.config, self.folder = config, folder
        self.transport = Gloo.of(config)
        self.engine, self.rank = EngineActor(config, 0, self.transport, InProcess(ShareOfDigits())), Rank(config)
        self.learners = Learners(config, [InProcess(self.rank)], share=lambda shared: shared)
        self.pool = EnginePool(config, [InProcess(self.engine)], lambda _: None, kill=lambda _: None)
        self.publisher = PatchPublisher(config, self.pool, self.learners, self.transport)
        draw = np.random.default_rng(0)
        tokens = [draw.integers(4, 32, 5 + i).astype(np.int32) for i in range(config.rollout.groups_per_step)]
        self.prompts = [Prompt(prompt_id=str(i), token_ids=ids, reference="", checker="toy") for i, ids in enumerate(tokens)]

    async def whole(self) -> dict[str, Any]:
        """Train, publish, save, load and export; everything that a test wants to see of it."""
        await self.learners.start()
        published, stats, true = [await prove_identity(self.publisher, self.prompts)], [], []
        for step in range(1, STEPS + 1):
            groups = [await self.ask(step * 100 + i, self.config.rollout.group_size) for i in range(len(self.prompts))]
            stats.append(await self.learners.step(groups))
            self.move_buffers()
            published.append(await self.publisher.publish(step))
            dict(self.rank.source)
            true.append(fingerprint(self.rank.source.proof))
        greedy = [await self.ask(i, 1, temperature=0.0) for i in range(len(self.prompts))]
        said = [(scored.prompt.token_ids, scored.learnable.tokens[0]) for scored in greedy]
        await self.learners.export(self.folder / "exported")
        reloaded = await self.engine.engine.llm.collective_rpc("why_reloaded")
        found = {
            "reloaded": reloaded,
            "true": true,
            "published": published,
            "stats": stats,
            "said": said,
            "restored": await self.save_and_load(),
        }
        found |= {"without": await self.publish_without_buffers()} if self.buffers() else {}
        if self.rank.learner.shape is not None:
            (found["proof"],) = await self.engine.engine.llm.collective_rpc("what_the_proof_says")
        return found

    async def ask(self, group_id: int, size: int, temperature: float | None = None) -> Scored:
        prompt = self.prompts[group_id % 100]
        (summary, _), *parts = await self.engine.respond(group_id, prompt, size, temperature, 0, True)
        return Scored(
            summary=summary, texts=(), tokens=references(parts, size, words=words_come_apart(self.config)), engine=0, prompt=prompt
        )

    def move_buffers(self) -> None:
        """Nothing in training moves them, so whether they travel shows only when something else does."""
        for buffer in self.buffers():
            buffer.add_(torch.linspace(-0.5, 0.5, len(buffer)))

    def buffers(self) -> list[torch.Tensor]:
        return list(self.rank.learner.zero.buffers().values())

    async def save_and_load(self) -> list[bool]:
        """Whether a checkpoint brings back every tensor, the buffers included."""
        saved = self.folder / "saved"
        saved.mkdir()
        await self.learners.snapshot()
        await self.learners.write(saved)
        before = {name: tensor.clone() for name, tensor in self.rank.source}
        self.move_buffers()
        await self.learners.load(saved)
        return [torch.equal(before[name], tensor) for name, tensor in self.rank.source]

    async def publish_without_buffers(self) -> str:
        """How the proof refuses a publish that leaves the buffers out."""
        source = self.rank.source
        source.layers = [kept for layer in source.layers if (kept := [tensor for tensor in layer if tensor.dtype is None])]
        try:
            await Publisher(self.config, self.pool, self.learners, self.transport).publish(STEPS + 1)
        except PublishFailed as refused:
            return str(refused)
        return "it was published"


def in_bfloat16(config: Config) -> dict[str, torch.Tensor]:
    """What a learner in bfloat16 publishes, straight from the model."""
    half = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    learner = Learner(half, rank=0, world=1, device=torch.device("cpu"))
    return dict(ZeroWeightSource(learner.zero, torch.bfloat16, prove=False))


def do(folder: Path, family: str) -> None:
    """The run of a family, from FOLDER/FAMILY/config.toml."""
    config = load(folder / family / "config.toml")
    os.environ |= engine_env(config, gpu=False) | learner_env(config, gpu=False)
    run = Run(config, folder / family)
    try:
        found = asyncio.run(run.whole())
    finally:
        run.engine.engine.shutdown()
    if FAMILIES[family].buffers:
        found["bfloat16"] = in_bfloat16(config)
    (folder / family / "found.pickle").write_bytes(pickle.dumps(found))


def share_imports() -> None:
    """Have vLLM fork its engine core and look at a model's class here; it would start a fresh interpreter for each."""
    assert vllm.v1.engine.core
    vllm_processes.get_mp_context = lambda: multiprocessing.get_context("fork")
    vllm_models._run_in_subprocess = lambda look: look()
    patches.WORTH = 9.0  # in float32 a patch is larger than the weights
    WeightReceiver.what_the_proof_says = what_the_proof_says  # type: ignore[attr-defined]


def start(folder: Path, family: str) -> None:
    """Fork the child of a family."""
    if os.fork():
        return
    status = 1
    try:
        do(folder, family)
        status = 0
    except BaseException:
        (folder / family / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(status)


if __name__ == "__main__":
    share_imports()
    torch.set_num_threads(1)
    for place, name in enumerate(sys.argv[2:]):
        if place >= AT_ONCE:
            os.wait()
        start(Path(sys.argv[1]), name)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
