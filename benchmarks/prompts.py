"""The tiny recipe's prompts in the order of a run, as requests to vLLM, and groups of answers as a run records them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cluster.commands.validate import load_tokenizer
from configs.schema import Config
from rollout.prompts.prompts import load_training_prompts
from rollout.seeds import seed_of_response
from rollout.types import Finish, Group, Prompt, Response, Verdict
from rollout.window.stream import PromptStream

Picked = Sequence[tuple[int, Prompt]]
WRONG = 0.6  # share of wrong answers, about that of the tiny model at its start


def pick(config: Config) -> Callable[[int], Picked]:
    """A function from a step's number to its (group id, prompt) pairs."""
    prompts = load_training_prompts(config, load_tokenizer(config)).prompts
    stream, count = PromptStream(len(prompts), config.run.seed), config.rollout.groups_per_step
    return lambda number: [(i, prompts[stream.index(i)]) for i in range(number * count, (number + 1) * count)]


def requests(config: Config, picked: Picked) -> tuple[list[Any], list[Any]]:
    """The step's prompts and sampling parameters, one pair per response, with the seeds of a Gatewise run."""
    from vllm.inputs import TokensPrompt

    from rollout.engine.sampling import sampling

    asked = [(group, prompt, member) for group, prompt in picked for member in range(config.rollout.group_size)]
    seeds = [seed_of_response(config.run.seed, group, member) for group, _, member in asked]
    prompts = [TokensPrompt(prompt_token_ids=prompt.token_ids.tolist()) for _, prompt, _ in asked]
    return prompts, [sampling(config.rollout.temperature, seed, config.rollout.max_response_tokens) for seed in seeds]


def recorded_groups(config: Config) -> list[Group]:
    """One step's groups: right answers, and wrong ones of about the same length as often as the tiny model gives them."""
    rng, tokenizer = np.random.default_rng(config.run.seed), load_tokenizer(config)

    def answer(reference: str) -> tuple[Response, Verdict]:
        right = rng.random() >= WRONG
        text = reference if right else str(int(reference) + int(rng.integers(1, 90)))
        ids = np.array([*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id], np.int32)
        logprobs = np.full(len(ids), -1.0, np.float32)
        response = Response(token_ids=ids, logprobs=logprobs, finish=Finish.STOP, oldest_version=0, newest_version=0, text=text)
        return response, Verdict(reward=float(right))

    groups = []
    for group_id, prompt in pick(config)(0):
        responses, verdicts = zip(*(answer(prompt.reference) for _ in range(config.rollout.group_size)), strict=True)
        groups.append(Group(group_id=group_id, prompt=prompt, responses=responses, verdicts=verdicts))
    return groups
