"""Tokens a second of Gatewise's engine, alone and behind Ray with scoring, against bare `vllm.LLM.generate`: same requests, same seeds."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from benchmarks.peer import Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.session import engine_env
from configs.loader import load
from configs.schema import Config
from rollout.types import Prompt

Picked = Sequence[tuple[int, Prompt]]
Call = Coroutine[Any, Any, Sequence[int]]


def measure(size: Size) -> list[Row]:
    """Rounds of one step's requests through each way to vLLM."""
    overrides = [f"run.dir={OUT / 'rollout'}"]
    env = engine_env(load(CONFIG, overrides), gpu=False)
    print("  starting three engines", flush=True)
    with peers("rollout", {"bare": env, "engine": env, "actors": {}}, overrides) as on:
        found = alternate(
            {
                "vllm.LLM": lambda number: on["bare"].ask(number=number),
                "AsyncLLM": lambda number: on["engine"].ask(number=number, bare=True),
                "Engine": lambda number: on["engine"].ask(number=number, bare=False),
                "actors": lambda number: on["actors"].ask(number=number),
            },
            size,
        )
    speeds = {side: [a["tokens"] / a["seconds"] for a in answers] for side, answers in found.items()}
    tokens = [float(answer["tokens"]) for answer in found["vllm.LLM"]]
    return [
        ratio("Engine / vllm.LLM, tokens/s", speeds["Engine"], speeds["vllm.LLM"]),
        ratio("EngineActor + RewardActor / vllm.LLM, tokens/s", speeds["actors"], speeds["vllm.LLM"]),
        ratio("bare AsyncLLM / vllm.LLM, tokens/s", speeds["AsyncLLM"], speeds["vllm.LLM"]),
        ratio("Engine / bare AsyncLLM, tokens/s", speeds["Engine"], speeds["AsyncLLM"]),
        ratio("tokens made, Engine / vllm.LLM", [float(a["tokens"]) for a in found["Engine"]], tokens),
        *(Row(what=side, unit="tokens/s", values=values) for side, values in speeds.items()),
        *(figures(f"{side}, a step's responses", "s", answers, "seconds") for side, answers in found.items()),
    ]


def pick(config: Config) -> Any:
    """A function from a round's number to its (group id, prompt) pairs, as a run would hand them out."""
    from cluster.validate import load_tokenizer
    from rollout.prompts import load_prompts
    from rollout.stream import PromptStream

    prompts = load_prompts(config, config.data.train, config.data.split, load_tokenizer(config)).prompts
    stream, groups = PromptStream(len(prompts), config.run.seed), config.rollout.groups_per_step
    return lambda number: [(i, prompts[stream.index(i)]) for i in range(number * groups, (number + 1) * groups)]


def requests(config: Config, picked: Picked) -> tuple[list[Any], list[Any]]:
    """The step's prompts and sampling parameters, a response each, with the seeds Gatewise would give them."""
    from rollout.engine import SAMPLED, TokensPrompt, derive_seed, sampling

    asked = [(group, prompt, member) for group, prompt in picked for member in range(config.rollout.group_size)]
    seeds = [derive_seed(config.run.seed, group, member, SAMPLED) for group, _, member in asked]
    prompts = [TokensPrompt(prompt_token_ids=prompt.token_ids.tolist()) for _, prompt, _ in asked]
    return prompts, [sampling(config, config.rollout.temperature, seed) for seed in seeds]


@contextmanager
def bare(config: Config) -> Iterator[Work]:
    """vLLM's offline interface, as its documentation shows it."""
    from vllm import LLM

    llm = LLM(
        model=config.model.path,
        dtype=config.model.dtype,
        seed=config.run.seed,
        max_model_len=config.context_tokens,
        logprobs_mode="processed_logprobs",
        **config.rollout.vllm,
    )
    picked = pick(config)

    def work(job: dict[str, Any]) -> dict[str, Any]:
        chosen = picked(job["number"])
        started = time.perf_counter()
        answers = llm.generate(*requests(config, chosen), use_tqdm=False)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "tokens": sum(len(answer.outputs[0].token_ids) for answer in answers)}

    yield work


@contextmanager
def engine(config: Config) -> Iterator[Work]:
    """Gatewise's engine in this process, and the AsyncLLM inside it used directly."""
    from rollout.engine import Engine

    picked, numbers = pick(config), count()

    async def build() -> Engine:
        return Engine(config, "gloo")

    async def directly(prompt: Any, params: Any) -> int:
        answers = [answer async for answer in served.llm.generate(prompt, params, f"bare-{next(numbers)}")]
        return len(answers[-1].outputs[0].token_ids)

    async def group(group_id: int, prompt: Prompt) -> int:
        size = config.rollout.group_size
        return sum([len(r) async for _, r in served.respond_group(group_id, prompt, config.run.seed, size)])

    def calls(job: dict[str, Any], chosen: Picked) -> list[Any]:
        if job["bare"]:
            return [directly(*pair) for pair in zip(*requests(config, chosen), strict=True)]
        return [group(group_id, prompt) for group_id, prompt in chosen]
    ...
