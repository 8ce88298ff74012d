"""The command `gatewise init`: from a data file and a model folder to a commented config that validates."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from cluster.record.progress.harmless import say

EPILOG = """
Nothing is asked, and nothing but the config is written:

  gatewise init train.jsonl /models/Qwen3-0.6B                  for the GPUs of this machine, or its CPUs
  gatewise init train.jsonl /models/Qwen3-0.6B --gpus 1 --gpu-memory 24    for one GPU of 24 GB, shared in turns
  gatewise init train.jsonl /models/Qwen3-30B-A3B --gpus 16     for 16 GPUs of 80 GB elsewhere
  gatewise init sums.csv .cache/tiny/model --reward my_reward.py:score --to sums.toml

It looks at the rows for the question, the reference and a checker that reads every reference, and at the machine for the number of engines
and ranks. The config is checked like `gatewise validate` does; its comments say where each number comes from.
"""


def add_init(commands: Any) -> None:
    """Add `init` to the command line."""
    what = "write a commented config for a data file and a model folder"
    command = commands.add_parser("init", help=what, description=what, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("data", help="rows to train on, in any form that data.train takes")
    command.add_argument("model", help="a model, in any form that model.path takes")
    command.add_argument("--eval", help="held-out rows; default: test.jsonl or the like beside train.jsonl")
    command.add_argument("--split", default="train", help="split of a dataset id (default: %(default)s)")
    command.add_argument("--eval-split", default="test", help="split of the held-out dataset id (default: %(default)s)")
    command.add_argument(
        "--reward", metavar="CHECKER", help="a checker's name or your own function; default: one that reads the references"
    )
    command.add_argument("--prompt-field", metavar="FIELD", help="field with the question; default: found by looking at the rows")
    command.add_argument("--reference-field", metavar="FIELD", help="field with the right answer; default: found by looking at the rows")
    command.add_argument("--to", help="file to write; default: the data's name with .toml, in the current folder")
    command.add_argument("--gpus", type=int, help="write for that many GPUs; default: those of this machine")
    command.add_argument("--gpu-memory", type=float, metavar="GB", help="memory of a GPU; default: that of this machine's, or 80")
    command.add_argument("--gpus-per-node", type=int, default=8, help="default: %(default)s")
    command.set_defaults(run=run_init)


def run_init(asked: argparse.Namespace) -> None:
    """Write the config and print what it says; ValueError where nothing that validates can be written."""
    from cluster.commands.init.rows import Told
    from cluster.commands.init.write import Asked, write_config_for
    from cluster.commands.resuming.going_on import program

    to = Path(asked.to or f"{stem(asked.data)}.toml")
    written = write_config_for(
        Asked(
            data=asked.data,
            model=asked.model,
            held_out=asked.eval,
            splits=(asked.split, asked.eval_split),
            told=Told(prompt=asked.prompt_field, reference=asked.reference_field, checker=asked.reward),
            gpus=asked.gpus,
            gpu_gb=asked.gpu_memory,
            gpus_per_node=asked.gpus_per_node,
        ),
        to,
    )
    for line in written:
        say(line)
    say(f"{to} is written and valid; next: {shlex.join([*program(), 'train', str(to)])}")


def stem(data: str) -> str:
    """A name for the config from its data's: the file without its ending, or the last part of a dataset id."""
    name = data.rstrip("/").rpartition("/")[2].partition(":")[0].partition(".")[0].replace("*", "")
    return name or "run"
