"""The command line: `python -m cluster`, installed as `gatewise`."""

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence

from cluster.commands.init.cli import add_init
from cluster.commands.rewards.cli import add_rewards
from configs.loader import load
from configs.schema import Config
from configs.version import VERSION

EPILOG = """
A run is a TOML file; shipped ones are in configs/. Any key can be set after it, in TOML syntax:

  python -m cluster train configs/tiny_cpu.toml run.steps=50 objective.preset=gspo learner.lr=1e-5
  python -m cluster train configs/tiny_cpu.toml run.resume=auto           continue where a run stopped
  python -m cluster validate configs/qwen3_30b_a3b_gspo.toml              check a config in seconds, without a GPU
  python -m cluster rewards --help                                        check a dataset's checkers, audit a run's rewards
  ray job submit --working-dir . -- python -m cluster train CONFIG        the same run on a cluster
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exits 0 on success, 1 with the cause as the last line, 2 on bad usage, 130 when interrupted."""
    asked = parser().parse_args(argv)
    # Background commands start with SIGINT ignored. Restore it: SIGTERM is turned into SIGINT as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asked.run(asked)
    except KeyboardInterrupt:
        print("gatewise: interrupted; everything that ran has been stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        cause = first_cause(error)
        if error is not cause or not isinstance(cause, ValueError):
            traceback.print_exception(error)
        print(f"gatewise: {type(cause).__name__}: {cause}", file=sys.stderr)
        sys.exit(1)


def first_cause(error: BaseException) -> BaseException:
    """The error that started it: the first member of an exception group, or what the actor raised inside Ray's wrapper."""
    while True:
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else getattr(error, "cause", None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments; their help should teach a newcomer."""
    whole = argparse.ArgumentParser(
        prog="gatewise",
        description="Reinforcement learning for mixture-of-experts language models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"gatewise {VERSION}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, run, what in (
        ("train", run_train, "train a policy: generate, score, learn, publish, until run.steps"),
        ("validate", run_validate, "check a config, its model folder and its data; starts nothing"),
        ("evaluate", run_evaluate, "greedy accuracy, pass@k and mean@k on data.eval"),
        ("export", run_export, "write a run's newest checkpoint as a Hugging Face folder"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("config", help="a TOML file")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's, in TOML syntax")
        if name == "export":
            command.add_argument("--to", required=True, help="folder to write")
        if name in ("export", "evaluate"):
            command.add_argument(
                "--checkpoint",
                help="checkpoint folder; default: the newest of run.dir" + (", or the model itself" if name == "evaluate" else ""),
            )
        command.set_defaults(run=run)
    add_init(commands)
    add_rewards(commands)
    return whole


def configured(asked: argparse.Namespace) -> Config:
    return load(asked.config, asked.overrides)


def run_train(asked: argparse.Namespace) -> None:
    config = configured(asked)  # reports mistakes before seconds of imports
    from cluster.commands.train import train

    train(config)


def run_validate(asked: argparse.Namespace) -> None:
    config = configured(asked)
    from cluster.commands.validate import check

    for line in check(config).lines:
        print(line)
    print(f"{asked.config} is valid")


def run_evaluate(asked: argparse.Namespace) -> None:
    config = configured(asked)
    from cluster.commands.offline import evaluate_offline

    evaluate_offline(config, asked.checkpoint)


def run_export(asked: argparse.Namespace) -> None:
    config = configured(asked)
    from cluster.commands.offline import export_offline

    export_offline(config, asked.checkpoint, asked.to)
