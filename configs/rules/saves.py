"""Rules between the keys that say when a run is saved and what it keeps."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule


def keep_every_names_steps_that_are_saved(config: Keys) -> Iterator[Problem]:
    """`run.keep_every` must be a multiple of `run.save_every`."""
    run = config.run
    if run.keep_every % run.save_every:
        most = max(run.save_every, run.keep_every // run.save_every * run.save_every)
        message = (
            f"got {run.keep_every} with run.save_every = {run.save_every}, so most of the steps to keep are never saved: "
            f"use a multiple of run.save_every, such as {most}"
        )
        yield Problem(("run.keep_every", "run.save_every"), message)


def the_best_checkpoint_is_among_evaluated_ones(config: Keys) -> Iterator[Problem]:
    """With `run.keep_best` and evaluations every step that is saved must be evaluated."""
    run, data = config.run, config.data
    if run.keep_best and (data.eval or data.evals) and run.eval_every and run.save_every % run.eval_every:
        message = (
            f"got true with run.save_every = {run.save_every} and run.eval_every = {run.eval_every}, so some checkpoints would have no "
            "held-out correctness to be the best by: make run.save_every a multiple of run.eval_every"
        )
        yield Problem(("run.keep_best", "run.save_every", "run.eval_every"), message)


SAVE_RULES: tuple[Rule, ...] = (keep_every_names_steps_that_are_saved, the_best_checkpoint_is_among_evaluated_ones)
