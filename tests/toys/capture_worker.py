"""One real engine that records experts: `python -m tests.toys.capture_worker FOLDER` writes what it answered to FOLDER/captured.pickle.

A long prompt is asked often, so that its blocks come from the prefix cache, and a batch of requests is paused on its way, as by a publish.
Then it plays episodes.
"""

import asyncio
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cluster.actors.session import engine_env
from configs.loader import load
from configs.schema import Config
from rollout.transfer.transport import choose_transport
from rollout.types import Prompt, Response

FACTORS = (1.1, 0.8)  # by which publishes in mid-episode change some weights
LONG = 80  # tokens of the prompt: two whole blocks and a half
PATIENT_S = 60.0
OVERRIDES = (
    "rollout.capture_routing=true",
    f"data.max_prompt_tokens={LONG}",
    "data.chat_template=false",
    "rollout.max_response_tokens=240",
    "rollout.max_turns=6",
    "rollout.max_reply_tokens=24",
    "rollout.cpus_per_engine=1",
    "rollout.vllm={enforce_eager=true, block_size=32}",
    "learner.micro_batch_tokens=1024",
)


async def answer(config: Config) -> dict[str, Any]:
    """Responses to one prompt, one after another and then many at once with a pause among them; prompt tokens found in the cache."""
    from rollout.engine.engine import Engine
    from tests.toys.episodes import all_kinds
    from tests.toys.gathered import gathered, of_a_dead_core

    engine = Engine(config, choose_transport(config, gpu=False))
    ask, cached = engine.requests.answer, []

    async def noting(*args: Any) -> Any:
        output = await ask(*args)
        cached.append(output.num_cached_tokens)
        return output

    engine.requests.answer = noting  # type: ignore[method-assign]
    process, messages = engine.llm.output_processor.process_outputs, []

    def counting(outputs: list[Any], *args: Any) -> Any:
        messages.append(len(outputs))
        return process(outputs, *args)

    engine.llm.output_processor.process_outputs = counting  # type: ignore[method-assign]
    engine.served.begin(0)
    tokens = np.random.default_rng(0).integers(4, 32, LONG).astype(np.int32)
    prompt = Prompt(prompt_id="0", token_ids=tokens, reference="", checker="exact")
    try:
        responses: list[Response] = [await engine.respond(prompt, seed, limit=40) for seed in range(4)]
        asked = [asyncio.create_task(engine.respond(prompt, seed, limit=40)) for seed in range(4, 20)]
        while len(engine.llm.output_processor.request_states) < len(asked):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        await engine.pause()
        engine.served.begin(1)
        await engine.resume()
        responses += await asyncio.gather(*asked)
        counts = {"tokens": engine.work.tokens, "steps": engine.work.steps, "messages": sum(messages)}
        batch = engine.llm.vllm_config.scheduler_config
        single, episodes = list(cached), await all_kinds(engine, FACTORS)
        in_episodes = cached[len(single) :]
        async with asyncio.timeout(PATIENT_S):
            groups = await gathered(engine, prompt) | await of_a_dead_core(engine, prompt)
    finally:
        engine.shutdown()
    found = {"counts": counts, "batch": (batch.max_num_seqs, batch.max_num_batched_tokens)}
    return found | {
        "prompt": prompt,
        "responses": responses,
        "cached": single,
        "cached_in_episodes": in_episodes,
        "groups": groups,
        "episodes": episodes,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run = load(folder / "config.toml", OVERRIDES)
    os.environ |= engine_env(run, gpu=False) | {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"}  # to send a function to the engine's worker
    (folder / "captured.pickle").write_bytes(pickle.dumps(asyncio.run(answer(run))))
