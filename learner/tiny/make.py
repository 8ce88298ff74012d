"""The tiny model's folder: a warmed-up checkpoint with its tokenizer, training rows and held-out rows."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from configs.arithmetic import counted
from learner.tiny.model import build_model, tiny_config
from learner.tiny.rows import write_rows
from learner.tiny.tasks import TASKS
from learner.tiny.tokenizer import make_tokenizer
from learner.tiny.warm_up import Progress

FIRST_TASK = "sums"  # its folders name no task


def make_tiny(folder: Path, seed: int = 0, progress: Progress = print, *, task: str = FIRST_TASK, most_steps: int | None = None) -> None:
    """Write `model/`, `train.jsonl`, `eval.jsonl` and `made.json` into a folder, unless it already has them.

    The same task and seed on the same machine give the same files. ValueError if the folder was made with others or has other contents.
    """
    folder = Path(folder)
    if is_made(folder, task, seed):
        progress(f"{folder} is already made")
        return
    aside = folder.with_name(folder.name + ".tmp")  # renamed when complete, so that an interrupted run leaves no partial folder
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with repeatable(seed):
        fill(aside, task, seed, progress, most_steps)
    aside.rename(folder)
    progress(f"{folder} is made")


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch and limit it to one thread: on two busy cores that is faster than two threads that wait for each other."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def is_made(folder: Path, task: str, seed: int) -> bool:
    """Whether the folder was already made for this task with this seed; False if it is absent or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = folder / "made.json"
    if not record.is_file():
        raise ValueError(f"{folder} exists but was not made by learner.tiny: name another folder or delete this one")
    made = {"task": FIRST_TASK} | json.loads(record.read_text())
    for name, asked in (("task", task), ("seed", seed)):
        if made[name] != asked:
            raise ValueError(f"{folder} was made with {name} {made[name]}, not {asked}: name another folder or delete this one")
    return True


def fill(folder: Path, task: str, seed: int, progress: Progress, most_steps: int | None) -> None:
    """Build, warm up, measure and write everything."""
    chosen = TASKS[task]
    train, held_out = chosen.split(seed)
    tokenizer = make_tokenizer(chosen.characters)
    model = build_model(tiny_config(tokenizer))
    progress(f"tiny Qwen3-MoE: {model.num_parameters():,} parameters, {len(train)} {chosen.things} to learn from, {len(held_out)} held out")
    reached = chosen.warm_up(model, tokenizer, train, held_out, most_steps=most_steps, progress=progress)
    progress(f"warmed up in {counted(int(reached['steps']), 'step')}")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "eval.jsonl", held_out)
    made = {"seed": seed, **({} if task == FIRST_TASK else {"task": task}), **reached}
    (folder / "made.json").write_text(json.dumps(made) + "\n")
