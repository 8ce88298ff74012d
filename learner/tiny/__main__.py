"""`python -m learner.tiny FOLDER [--task NAME] [--seed N]` makes the tiny model for a task."""

import argparse
import os
import sys
from pathlib import Path

from transformers.utils import logging

from learner.tiny.make import FIRST_TASK, make_tiny
from learner.tiny.tasks import TASKS


def main() -> int:
    """Make the folder; exit code 2 and a message if it has other contents."""
    parser = argparse.ArgumentParser(prog="python -m learner.tiny", description="Make and warm up a tiny Qwen3-MoE with its task.")
    parser.add_argument("folder", type=Path, help="where to write model/, train.jsonl and eval.jsonl")
    parser.add_argument("--task", choices=list(TASKS), default=FIRST_TASK, help=f"what it is warmed up for (default {FIRST_TASK})")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the split and the batches (default 0)")
    asked = parser.parse_args()
    # transformers imports DeepSpeed as it saves a model, and DeepSpeed warns where it has to find out that there is no GPU.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.disable_progress_bar()  # `progress` reports the same in one line
    try:
        make_tiny(asked.folder, asked.seed, task=asked.task)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
