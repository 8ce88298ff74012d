"""The command `gatewise play`: an episode at the terminal, with you or an engine in the model's place."""

import argparse
from typing import Any

from configs.loader import load

EPILOG = """
  gatewise play game.toml 3                      be the model: read the prompt of row 3, type turns, see the answers and the reward
  gatewise play game.toml 3 --engine             one real engine speaks, turn by turn: Enter goes on, e goes to the end
  gatewise play game.toml 3 --engine --greedy    the same without sampling
  gatewise play game.toml 3 --set eval           a row of data.eval; --set NAME for [data.evals.NAME]
  printf '50\\n25\\n' | gatewise play game.toml 3  turns from a pipe: a line each

Tools, environment and reward are those of a run, with its limits of turns, tokens and time. Services such as a judge are really asked.
Ctrl-D leaves the episode without a reward. No learner is started, and without --engine no GPU is needed.
"""


def add_play(commands: Any) -> None:
    """Add `play` to the command line."""
    what = "play an episode of a row: be the model at the terminal, or let an engine speak"
    command = commands.add_parser(
        "play", help=what, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("config", help="a TOML file")
    command.add_argument("row", help="the row's id, or its number from 0")
    command.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings that replace the file's, in TOML syntax")
    command.add_argument("--set", default="train", metavar="NAME", help="train (%(default)s), eval, or the name of an eval set")
    command.add_argument("--engine", action="store_true", help="one vLLM engine with the weights of model.path speaks")
    command.add_argument("--greedy", action="store_true", help="with --engine: the likeliest token each time")
    command.add_argument("--to-end", action="store_true", help="with --engine: do not wait between turns (nor without a terminal)")
    command.add_argument("--seed", type=int, help="run.seed: of what is sampled, and of the environment")
    command.set_defaults(run=run_play)


def run_play(asked: argparse.Namespace) -> None:
    """Play one episode; an InputError says what cannot be played."""
    if (asked.greedy or asked.to_end) and not asked.engine:
        raise UnusedOption(f"--{'greedy' if asked.greedy else 'to-end'} is for an engine: add --engine")
    seed = [] if asked.seed is None else [f"run.seed={asked.seed}"]
    asked.loaded = config = load(asked.config, [*asked.overrides, *seed])  # reports mistakes before seconds of imports
    from cluster.commands.play.lines import Lines
    from cluster.commands.play.screen import Screen
    from cluster.commands.play.table import Wanted, play

    wanted = Wanted(row=asked.row, among=asked.set, engine=asked.engine, greedy=asked.greedy, to_the_end=asked.to_end)
    play(config, wanted, Screen(), Lines())


class UnusedOption(ValueError):
    """An option that has no effect without another one."""
