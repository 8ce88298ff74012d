"""The command line: `python -m cluster`, installed as `gatewise`."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from cluster.causes.died import oom_kills
from cluster.causes.last_words import last_words
from cluster.causes.report import report
from cluster.commands.audit.cli import add_audit
from cluster.commands.doctor.cli import add_doctor
from cluster.commands.init.cli import add_init
from cluster.commands.play.cli import add_play
from cluster.commands.replay.cli import add_replay
from cluster.commands.rewards.cli import add_rewards
from cluster.commands.runs.cli import add_runs
from cluster.commands.selfcheck.cli import add_selfcheck
from cluster.record.metrics.timeline.cli import add_trace
from cluster.record.metrics.trackers.cli import add_track
from cluster.record.progress.harmless import harmless_lines
from cluster.record.scaling.cli import add_engines
from cluster.report.cli import add_report
from cluster.stop import StopSignals
from cluster.working_folder import find_modules_in, refuse_hidden_modules
from configs.loader import load
from configs.schema import Config
from configs.translate import describe_flags
from configs.version import VERSION

SETTING = re.compile(r"[A-Za-z_][\w.]*=")
EPILOG = """
A run is a TOML file; shipped ones are in configs/. Any key can be set after it, in TOML syntax:

  python -m cluster train configs/tiny_cpu.toml run.steps=50 objective.preset=gspo learner.lr=1e-5
  python -m cluster train configs/tiny_cpu.toml run.resume=auto           continue where a run stopped
  python -m cluster validate configs/qwen3_30b_a3b_gspo.toml              check a config in seconds, without a GPU
  python -m cluster doctor                                                look for what is wrong with this machine and what is installed
  python -m cluster runs                                                  the runs below runs/: state, step, reward, best step
  python -m cluster audit runs/first                                      prove that a run lost nothing and learned nothing twice
  python -m cluster report runs/first                                     one HTML file: is the run well, and why not
  python -m cluster watch runs/first                                      the same, live in the browser
  python -m cluster trace runs/first --to trace.json                      who did what when, for ui.perfetto.dev
  python -m cluster track runs/first --to mlflow                          send a finished run to a tracker
  python -m cluster rewards --help                                        check a dataset's checkers, audit a run's rewards
  python -m cluster play CONFIG 0                                         be the model at the terminal, or let an engine speak
  python -m cluster engines runs/NAME --count 4                           more or fewer engines while a run works
  ray job submit --working-dir . -- python -m cluster train CONFIG        the same run on a cluster
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exits 0 on success, 1 with the cause as the last line, 2 on bad usage, 128 plus the signal that ended it."""
    asked = read_words(argv)
    asked.signals = signals = StopSignals()
    before = oom_kills()
    try:
        with signals.installed():
            refuse_hidden_modules()
            find_modules_in(os.getcwd())
            asked.run(asked)
    except KeyboardInterrupt:
        print("gatewise: interrupted; everything that ran has been stopped", file=sys.stderr)
        say_how_to_continue(asked)
        sys.exit(signals.status)
    except Exception as error:
        sys.stdout.flush()  # into one file, as `ray job submit` and `2>&1` do, the cause must come last
        config: Config | None = getattr(asked, "loaded", None)
        *lines, cause = report(error, config, before)
        print(harmless_lines("\n".join(lines)), file=sys.stderr) if lines else None
        say_how_to_continue(asked)
        print(harmless_lines(cause), file=sys.stderr, flush=True)
        sys.exit(1)
    if signals.stop.asked:
        print("gatewise: stopped; everything that ran has been stopped", file=sys.stderr)
        say_how_to_continue(asked)
        sys.exit(signals.status)


def read_words(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command with its arguments; exits with 2 where there is a word that it does not know. Settings may stand behind options."""
    known = parser()
    asked, extra = known.parse_known_args(argv)
    if extra and hasattr(asked, "overrides") and all(map(SETTING.match, extra)):  # argparse leaves out what follows an option
        asked.overrides += extra
    elif extra:
        lines = describe_flags(extra) if hasattr(asked, "overrides") else []
        known.error("\n".join(lines) or f"unrecognized arguments: {' '.join(extra)}")
    return asked


def say_how_to_continue(asked: argparse.Namespace) -> None:
    """Print the command that continues a run which began and has a checkpoint."""
    if asked.signals.stop.heard:
        from cluster.commands.resuming.going_on import how_to_continue

        print(how_to_continue(asked.loaded, asked.config, asked.overrides), file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Its messages quote arguments and folders, which may hold anything."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(harmless_lines(message), file)


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments; their help should teach a newcomer."""
    whole = Parser(
        prog="gatewise",
        description="Reinforcement learning for mixture-of-experts language models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"gatewise {VERSION}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, run, what in (
        ("train", run_train, "train a policy: generate, score, learn, publish, until run.steps"),
        ("validate", run_validate, "check a config, its model, data and run.dir, and show what follows; starts nothing"),
        ("evaluate", run_evaluate, "correctness of greedy responses, pass@k and mean@k on data.eval"),
        ("export", run_export, "write a run's newest checkpoint as a Hugging Face folder"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("config", help="a TOML file")
        command.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help="settings that replace the file's, in TOML syntax"
        )
        if name == "export":
            command.add_argument("--to", required=True, help="folder to write")
        if name == "validate":
            command.add_argument(
                "--gpu-memory",
                type=float,
                metavar="GB",
                help="the run is meant for another machine, with GPUs of that size: check the config, not this machine",
            )
        if name in ("export", "evaluate"):
            command.add_argument(
                "--checkpoint",
                help="checkpoint folder; default: the newest of run.dir" + (", or the model itself" if name == "evaluate" else ""),
            )
        command.set_defaults(run=run)
    add_init(commands)
    add_doctor(commands)
    add_audit(commands)
    add_rewards(commands)
    add_replay(commands)
    add_play(commands)
    add_selfcheck(commands)
    add_engines(commands)
    add_report(commands)
    add_trace(commands)
    add_runs(commands)
    add_track(commands)
    return whole


def configured(asked: argparse.Namespace) -> Config:
    asked.loaded = load(asked.config, asked.overrides)
    config: Config = asked.loaded
    return config


def run_train(asked: argparse.Namespace) -> None:
    config = configured(asked)  # reports mistakes before seconds of imports
    from cluster.commands.resuming.going_on import to_continue
    from cluster.commands.train import train

    # Before them Ray has said what became of its processes.
    vanished = "gatewise: ProcessDied: the driver was ended from outside, or by Ray itself because its raylet or GCS is gone"
    with last_words([f"gatewise: to continue the run: {to_continue(asked.config, asked.overrides)}", vanished]):
        train(config, stop=asked.signals.stop)


def run_validate(asked: argparse.Namespace) -> None:
    config = configured(asked)
    from cluster.commands.report import validate

    validate(config, asked.config, asked.gpu_memory)


def run_evaluate(asked: argparse.Namespace) -> None:
    config = configured(asked)
    from cluster.commands.offline import evaluate_offline

    evaluate_offline(config, asked.checkpoint)


def run_export(asked: argparse.Namespace) -> None:
    config = configured(asked)
    from cluster.commands.offline import export_offline

    export_offline(config, asked.checkpoint, asked.to)
