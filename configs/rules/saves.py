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


SAVE_RULES: tuple[Rule, ...] = (keep_every_names_steps_that_are_saved,)
