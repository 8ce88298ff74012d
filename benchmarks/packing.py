"""The learner's passes without padding against padded ones: the same responses under the same token budget, in turns in one process.

The limit is the gain if all work were proportional to tokens: the tokens of the padded micro-batches, which the plan makes from rows
sorted by length, over the real tokens. Attention's work grows faster than its tokens, so the gain can exceed the limit. Seconds are CPU
time of the one thread that computes, because other processes disturb it less than wall-clock time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.prompts import recorded_groups
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from configs.loader import load
from configs.schema import Config
from learner.batch.fetched import InMemory, fetch_all
from learner.batch.plan import plan_step
from learner.batch.tensors import build_batch
from learner.experts.routers import attach
from learner.learner import Learner
from learner.loss.objective import LossInputs, policy_loss
from learner.model.policy import load_policy
from learner.process_group import join_ranks
from learner.tiny.model import build_model, tiny_config
from learner.tiny.tokenizer import make_tokenizer
from rollout.transfer.meeting import free_socket
from rollout.types import Finish, Group, GroupSummary, Prompt, Response, Verdict

GROUPS, MEMBERS, BUDGET = 32, 8, 8192
PROMPT, LONGEST = 32, 512
MEDIAN, SIGMA = 60, 0.8
CHARACTERS = "0123456789+-*=? abcdefghijkl"
SIDES = {"padded": "false", "packed": "true"}

Work = Callable[[], None]
Draw = Callable[[np.random.Generator], tuple[int, NDArray[Any]]]  # lengths of a prompt and of its responses


def measure(size: Size) -> list[Row]:
    """Rounds of forward and backward passes at uneven and at even lengths, and of the tiny recipe's whole steps."""
    torch.set_num_threads(1)
    return [*passes("log-normal", uneven, size), *passes("equal lengths", even, size), *steps(size)]


def uneven(rng: np.random.Generator) -> tuple[int, NDArray[Any]]:
    """Prompts of 8 to 32 tokens, log-normal responses."""
    return int(rng.integers(8, PROMPT + 1)), np.clip(rng.lognormal(np.log(MEDIAN), SIGMA, MEMBERS), 1, LONGEST).astype(int)


def even(_: np.random.Generator) -> tuple[int, NDArray[Any]]:
    """Equal lengths, so no padding to leave out: the difference is the cost of packing itself."""
    return 20, np.full(MEMBERS, MEDIAN)


def passes(what: str, draw: Draw, size: Size) -> list[Row]:
    """Forward, loss and backward of one update's micro-batches."""
    rng = np.random.default_rng(0)
    groups = [group_of(number, *draw(rng), rng) for number in range(GROUPS)]
    made = {side: update_of(settings(packing), groups) for side, packing in SIDES.items()}
    found = alternate({side: partial(clocked, work) for side, (work, _) in made.items()}, size)
    padded, packed = ([answer["seconds"] for answer in found[side]] for side in SIDES)
    real, limit = made["packed"][1], made["padded"][1] / made["packed"][1]
    speed_up = ratio(f"{what}: tokens/s, packed / padded", padded, packed)
    return [
        speed_up,
        Row(what=f"{what}: limit, padded tokens / real tokens", unit="x", values=[limit]),
        Row(what=f"{what}: share of the limit", unit="x", values=[value / limit for value in speed_up.values]),
        *(
            Row(what=f"{what}: {side}", unit="tokens/s", values=[real / t for t in of])
            for side, of in zip(SIDES, (padded, packed), strict=True)
        ),
    ]


def group_of(number: int, prompt: int, answers: NDArray[Any], rng: np.random.Generator) -> Group:
    """A group of random tokens, every other response right."""

    def tokens(count: int) -> NDArray[np.int32]:
        return rng.integers(4, 4 + len(CHARACTERS), count).astype(np.int32)

    def response(count: int) -> Response:
        logprobs = np.full(count, -3.0, np.float32)
        return Response(token_ids=tokens(count), logprobs=logprobs, finish=Finish.STOP, oldest_version=0, newest_version=0, text="")

    return Group(
        group_id=number,
        prompt=Prompt(prompt_id=str(number), token_ids=tokens(prompt), reference="", checker="exact"),
        responses=tuple(map(response, answers)),
        verdicts=tuple(Verdict(reward=float(member % 2)) for member in range(len(answers))),
    )


def settings(packing: str) -> Config:
    """The tiny recipe with a random model of its size for longer texts."""
    folder = OUT / "packing" / "model"
    if not folder.exists():
        torch.manual_seed(0)
        shape = tiny_config(make_tokenizer(CHARACTERS))
        shape.max_position_embeddings = PROMPT + LONGEST
        build_model(shape).save_pretrained(folder)
    lengths = [f"data.max_prompt_tokens={PROMPT}", f"rollout.max_response_tokens={LONGEST}"]
    return load(CONFIG, [f'model.path="{folder}"', *lengths, f"learner.micro_batch_tokens={BUDGET}", f"learner.packing={packing}"])


def update_of(config: Config, groups: Sequence[Group]) -> tuple[Work, int]:
    """An update's passes as a function, and the number of tokens that go through the model."""
    policy, objective, learner = load_policy(config), config.whole_objective, config.learner
    attach(policy, policy.routing, precise=True)
    plan = plan_step(
        [GroupSummary.of(group) for group in groups],
        objective.preset,
        updates=1,
        ranks=1,
        micro_batch_tokens=BUDGET,
        response_tokens=LONGEST,
        packed=bool(learner.packing),
    )
    batches = [build_batch(rows, fetch_all(groups, rows), 0) for rows in plan.of_rank(0)[0]]

    def work() -> None:
        for batch in batches:
            logprobs, _ = policy(batch)
            inputs = LossInputs(
                old_logprobs=logprobs.detach(),
                engine_logprobs=batch.engine_logprobs,
                reference_logprobs=None,
                advantages=batch.advantages,
                mask=batch.mask,
                token_weight=batch.token_weight,
            )
            torch.autograd.backward(policy_loss(objective, logprobs, inputs)[0])
        policy.zero_grad()

    return work, sum(int(batch.whole.sum()) if learner.packing else batch.attention.numel() for batch in batches)


def steps(size: Size) -> list[Row]:
    """Whole steps of the tiny recipe, whose responses have a few tokens."""
    with one_rank() as device:
        made = {}
        for side, packing in SIDES.items():
            config = load(CONFIG, [f"learner.packing={packing}"])
            groups = recorded_groups(config)
            made[side] = Learner(config, rank=0, world=1, device=device), groups, [GroupSummary.of(group) for group in groups]

        def step(side: str) -> None:
            learner, groups, summaries = made[side]
            learner.step(summaries, InMemory(groups))

        found = alternate({side: partial(clocked, partial(step, side)) for side in SIDES}, size)
    padded, packed = ([answer["seconds"] for answer in found[side]] for side in SIDES)
    return [
        ratio("tiny recipe: Learner.step, packed / padded", packed, padded),
        *(figures(f"tiny recipe: Learner.step, {side}", "s", found[side], "seconds") for side in SIDES),
    ]


@contextmanager
def one_rank() -> Iterator[torch.device]:
    """A process group whose only rank is this process."""
    listener = free_socket("127.0.0.1")
    yield join_ranks(rank=0, world=1, host="127.0.0.1", port=listener.getsockname()[1], deadline_s=60, listener=listener)
    torch.distributed.destroy_process_group()


def clocked(work: Work, _: int) -> dict[str, Any]:
    """The CPU seconds of a round."""
    started = time.process_time()
    work()
    return {"seconds": time.process_time() - started}
