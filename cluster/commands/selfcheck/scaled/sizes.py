"""A recipe's engines, ranks and parallel sizes, cut down to the GPUs or cores that there are."""

from dataclasses import dataclass
from itertools import product
from math import gcd

from configs.arithmetic import counted
from configs.errors import InputError
from configs.rules.engine import gpus_per_engine, vllm_size
from configs.schema import Config

ENOUGH = 2  # engines, ranks, workers of an engine: the least with which what they share is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSizes:
    """How many processes a run has, and how they divide the model."""

    engines: int
    tensor_parallel: int
    ranks: int
    expert_parallel: int

    def gpus(self, *, share: bool) -> int:
        """GPUs that all of them need."""
        return max(self.engines * self.tensor_parallel, self.ranks) if share else self.engines * self.tensor_parallel + self.ranks


def sizes_of(config: Config) -> RunSizes:
    """What the recipe asks for. Pipeline and context parallelism count as tensor parallelism, in whose place they stand here."""
    return RunSizes(
        engines=config.rollout.most_engines,
        tensor_parallel=gpus_per_engine(config),
        ranks=config.learner.ranks,
        expert_parallel=config.learner.expert_parallel,
    )


def fitted(config: Config, gpus: int) -> RunSizes:
    """The recipe's sizes where they fit on `gpus` GPUs, else the ones that try most of what it asks for.

    Without GPUs: at most two engines and two ranks, each whole. InputError where not even one engine and one rank fit.
    """
    asked = sizes_of(config)
    share = config.placement.share
    if gpus == 0:
        engines = min(ENOUGH, asked.engines)
        return within(asked, engines=engines, workers=1, ranks=engines if share else min(ENOUGH, asked.ranks))
    if asked.gpus(share=share) <= gpus:
        return asked
    choices = [
        within(asked, engines=engines, workers=workers, ranks=ranks)
        for engines, workers, ranks in product(
            range(1, min(asked.engines, gpus) + 1), divisors(asked.tensor_parallel), range(1, asked.ranks + 1)
        )
        if engines <= gpus and ranks <= gpus
    ]
    fitting = [choice for choice in choices if choice.gpus(share=share) <= gpus]
    if share:  # engines and ranks lie on the same GPUs, so both take all that the run has
        fitting = [choice for choice in fitting if choice.engines * choice.tensor_parallel == choice.ranks]
    if not fitting:
        raise InputError(
            f"a selfcheck needs a GPU for an engine and one for a rank, and there is {counted(gpus, 'GPU')}: "
            "set placement.share = true, with which both take turns on it"
        )
    return max(fitting, key=lambda choice: worth(choice, asked))


def worth(choice: RunSizes, asked: RunSizes) -> tuple[int, int, int, int]:
    """How much of what the recipe asks for a choice tries; then more ranks, more workers, more engines."""
    pairs = ((choice.engines, asked.engines), (choice.tensor_parallel, asked.tensor_parallel), (choice.ranks, asked.ranks))
    tried = sum(have >= min(ENOUGH, wanted) for have, wanted in pairs)
    return tried, choice.ranks, choice.tensor_parallel, choice.engines


def within(asked: RunSizes, *, engines: int, workers: int, ranks: int) -> RunSizes:
    return RunSizes(engines=engines, tensor_parallel=workers, ranks=ranks, expert_parallel=gcd(asked.expert_parallel, ranks))


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def differences(config: Config, sizes: RunSizes) -> list[str]:
    """What differs from the recipe, one line each."""
    asked = sizes_of(config)
    names = {
        "rollout.engines": (asked.engines, sizes.engines),
        "rollout.vllm.tensor_parallel_size": (vllm_size(config, "tensor_parallel_size"), sizes.tensor_parallel),
        "learner.ranks": (asked.ranks, sizes.ranks),
        "learner.expert_parallel": (asked.expert_parallel, sizes.expert_parallel),
    }
    return [f"{name}: {before} → {after}" for name, (before, after) in names.items() if before != after]
