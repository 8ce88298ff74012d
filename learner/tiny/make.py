"""The tiny model's folder: a warmed-up checkpoint with its tokenizer, training rows and held-out rows."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from configs.arithmetic import counted
from learner.tiny.arithmetic import split_sums, write_rows
from learner.tiny.model import build_model, tiny_config
from learner.tiny.tokenizer import make_tokenizer
from learner.tiny.warm_up import encode_rows, measure, warm_up

MOST_STEPS = 400


def make_tiny(folder: Path, seed: int = 0, progress: Callable[[str], object] = print, *, most_steps: int = MOST_STEPS) -> None:
    """Write `model/`, `train.jsonl`, `eval.jsonl` and `made.json` into a folder, unless it already has them.

    The same seed on the same machine gives the same files. ValueError if the folder was made with another seed or has other contents.
    """
    folder = Path(folder)
    if is_made(folder, seed):
        progress(f"{folder} is already made")
        return
    aside = folder.with_name(folder.name + ".tmp")  # renamed when complete, so that an interrupted run leaves no partial folder
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with repeatable(seed):
        fill(aside, seed, progress, most_steps)
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


def is_made(folder: Path, seed: int) -> bool:
    """Whether the folder was already made with this seed; False if it is absent or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = folder / "made.json"
    if not record.is_file():
        raise ValueError(f"{folder} exists but was not made by learner.tiny: name another folder or delete this one")
    made = json.loads(record.read_text())
    if made["seed"] != seed:
        raise ValueError(f"{folder} was made with seed {made['seed']}, not {seed}: name another folder or delete this one")
    return True


def fill(folder: Path, seed: int, progress: Callable[[str], object], most_steps: int) -> None:
    """Build, warm up, measure and write everything."""
    train, held_out = split_sums(seed)
    tokenizer = make_tokenizer()
    model = build_model(tiny_config(tokenizer))
    progress(f"tiny Qwen3-MoE: {model.num_parameters():,} parameters, {len(train)} sums to learn from, {len(held_out)} held out")
    steps = warm_up(model, tokenizer, train, most_steps=most_steps, progress=progress)
    reached = measure(model, *encode_rows(held_out, tokenizer))
    progress(f"warmed up in {counted(steps, 'step')}: held-out answers right {reached.greedy:.2f} greedy, {reached.sampled:.2f} sampled")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "eval.jsonl", held_out)
    made = {"seed": seed, "steps": steps, "greedy": reached.greedy, "sampled": reached.sampled}
    (folder / "made.json").write_text(json.dumps(made) + "\n")
