"""The task of a selfcheck: sums as prompts, and a reward that differs between any two responses, so that a random model learns too."""

from pathlib import Path

from learner.tiny.arithmetic import split_sums
from learner.tiny.rows import write_rows

REWARD = '''"""Reward of a selfcheck: a number from 0 to 1 that hardly two responses share. It teaches nothing sensible."""

import zlib


def score(response: str, reference) -> float:
    return zlib.crc32(response.encode()) / 0xFFFFFFFF
'''
ROWS = 1024
HELD_OUT = 8  # prompts that warm the engines up before anything is timed


def write_task(folder: Path) -> dict[str, str]:
    """Write rows, held-out rows and the reward function into a folder; returns the path of each."""
    train, held_out = split_sums(seed=0, held_out=HELD_OUT)
    paths = {"train": folder / "train.jsonl", "eval": folder / "eval.jsonl", "reward": folder / "selfcheck_reward.py"}
    write_rows(paths["train"], train[:ROWS])
    write_rows(paths["eval"], held_out)
    paths["reward"].write_text(REWARD)
    return {name: str(path) for name, path in paths.items()}
