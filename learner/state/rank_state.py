"""One rank's learner on disk, readable by any number of ranks, any ZeRO stage and any spread of experts.

    device ──snapshot──► host memory ──write──► state/rank-N.safetensors, rank-N.json
                                                              │
    device ◄──────────────── the ranges that a rank needs ◄──load

No number is written twice: where several ranks hold the same ones, each writes a part. Every rank reads only what it holds.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learner.learner import Learner
from learner.model.masters import MOMENTS, Moments, Part, adopt, frozen_parts, parts, release
from learner.state.files import Files, Fragment, write_bytes, write_file
from learner.state.layout import LAYOUT, STATE, counters_file, read_counters, state_file
from learner.state.place import Place, places
from learner.state.snapshot import Entry, Snapshot
from learner.weights.source import PREFIX

WEIGHTS, REFERENCE, BUFFER, RANDOM = "weights", "reference", "buffer", "random"
AT_ONCE = 1 << 24  # numbers read at once on their way to a device


class RankState:
    """The state of one rank's learner: taken, written, and restored."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.zero = learner, learner.zero
        self.places: dict[str, Place] = places(learner.zero)
        self.taken = Snapshot()
        self.counters: dict[str, Any] = {}
        self.busy = threading.Lock()

    def prepare(self) -> None:
        """Take the memory of snapshots on a thread of its own, so that the first one need not wait for it."""
        size, moments = sum(entry.numbers.nbytes for entry in self._entries()), Moments(self.zero)
        # The first update makes the moments.
        lacking = [part for part in parts(self.zero) if part.owner is not None and not moments.of(part)]
        size += sum(len(part.weights) // part.copies + 1 for part in lacking) * len(MOMENTS) * torch.float32.itemsize
        threading.Thread(target=self._reserve, args=(size, self.learner.device.type == "cuda"), daemon=True).start()

    def _reserve(self, size: int, pinned: bool) -> None:
        with self.busy:
            if not len(self.taken.memory):  # else a snapshot was faster, and is in it
                self.taken.reserve(size, pinned=pinned)

    def snapshot(self) -> None:
        """Copy this rank's part of the state into host memory. It waits for a write that still reads the copy before."""
        with self.busy:
            self.taken.take(list(self._entries()))
            self.counters = self._counters()

    def write(self, folder: Path) -> dict[str, dict[str, int | str]]:
        """Write the newest copy below `folder`; size and hash of each file, by its name relative to it. Any thread may call it."""
        state, counters = state_file(self.learner.rank), counters_file(self.learner.rank)
        with self.busy:
            if not self.counters:
                raise RuntimeError("there is nothing to write: take a snapshot first")
            (folder / STATE).mkdir(parents=True, exist_ok=True)
            written = {state: write_file(folder / state, self.taken.fragments, self.taken.memory)}
            return written | {counters: write_bytes(folder / counters, [json.dumps(self.counters).encode()])}

    def load(self, folder: Path) -> None:
        """Restore what ranks of any number wrote; ValueError if it cannot be read or lacks numbers. A collective."""
        learner = self.learner
        every = read_counters(folder)
        mine = every[learner.rank % len(every)]
        with self._files(folder, len(every)) as files:
            self._load_policy(files, every, moments=True)
            self._load_buffers(files)
            if learner.reference is not None and learner.reference.every:
                for part in frozen_parts(learner.reference.module, self.zero):
                    self._fill(files, REFERENCE, part, part.weights)
            random = torch.empty_like(torch.get_rng_state())
            files.read(RANDOM, str(learner.rank % len(every)), 0, random)
        torch.set_rng_state(random)
        learner.steps_done, learner.updates_done, learner.skipped = mine["steps_done"], mine["updates_done"], mine["skipped"]
        learner.entropy.restore(mine.get("entropy", {}))
        learner.spikes.restore(mine.get("norms", ()))

    def load_weights(self, folder: Path, *, optimizer: bool) -> None:
        """Take a checkpoint's weights, and its moments if asked; counters, reference and randomness stay new. A collective."""
        every = read_counters(folder)
        with self._files(folder, len(every)) as files:
            self._load_policy(files, every, moments=optimizer)
            self._load_buffers(files)
        if not optimizer:
            Moments(self.zero).forget()

    def _entries(self) -> Iterator[Entry]:
        """This rank's share of everything, as views of where it is."""
        moments = Moments(self.zero)
        for part in parts(self.zero):
            for kind, numbers in {WEIGHTS: part.weights, **moments.of(part)}.items():
                yield self._entry(kind, part, numbers)
        reference = self.learner.reference
        if reference is not None and reference.every:
            for part in frozen_parts(reference.module, self.zero):
                yield self._entry(REFERENCE, part, part.weights)
        if self.learner.rank == 0:
            for name, buffer in self.zero.buffers().items():
                yield all_of(BUFFER, name.removeprefix(PREFIX), buffer)
        yield all_of(RANDOM, str(self.learner.rank), torch.get_rng_state())

    def _entry(self, kind: str, part: Part, numbers: Tensor) -> Entry:
        """The share of these numbers that this rank writes."""
        first, last = (len(numbers) * number // part.copies for number in (part.copy, part.copy + 1))
        ranges = self.places[part.parameter].ranges(part.start + first, last - first)
        return Entry(numbers[first:last], [Fragment(kind, found.name, found.start, found.length, numbers.dtype) for found in ranges])

    def _counters(self) -> dict[str, Any]:
        learner, moments = self.learner, Moments(self.zero)
        steps = {self.places[part.parameter].name: moments.steps(part) for part in parts(self.zero) if part.owner is not None}
        found = {
            "layout": LAYOUT,
            "ranks": learner.world,
            "stage": self.zero.stage,
            "expert_parallel": learner.config.learner.expert_parallel,
            "steps_done": learner.steps_done,
            "updates_done": learner.updates_done,
            "skipped": learner.skipped,
            "norms": list(learner.spikes.norms),
            "adam_steps": steps,
        }
        return found | ({"entropy": entropy} if (entropy := learner.entropy.state()) else {})

    def _files(self, folder: Path, ranks: int) -> Files:
        files = Files([folder / state_file(rank) for rank in range(ranks)])
        numbers = files.numbers()
        for place in self.places.values():
            if (found := numbers.get((WEIGHTS, place.name), 0)) != place.total:
                raise ValueError(
                    f"{folder} has {found} numbers of {place.name}, and the model has {place.total}: set model.path to the run's own model"
                )
        return files

    def _load_policy(self, files: Files, every: list[dict[str, Any]], *, moments: bool) -> None:
        steps: dict[str, int] = {}
        for one in every:
            for name, count in one["adam_steps"].items():
                steps[name] = max(count, steps.get(name, 0))
        release(self.zero)
        held, adam = list(parts(self.zero)), Moments(self.zero)
        for part in held:
            self._fill(files, WEIGHTS, part, part.weights)
        if moments:
            self._load_moments(files, [part for part in held if part.owner is not None], adam, steps)
        adopt(self.zero)

    def _load_moments(self, files: Files, trained: list[Part], adam: Moments, steps: dict[str, int]) -> None:
        done = {id(part): steps.get(self.places[part.parameter].name, 0) for part in trained}
        of_owner: dict[int, int] = {}  # ZeRO counts once for all parameters that lie in one flat tensor
        for part in trained:
            of_owner[id(part.owner)] = max(done[id(part)], of_owner.get(id(part.owner), 0))
        for part in trained:
            adam.begin(part, of_owner[id(part.owner)])
            for kind, numbers in adam.of(part).items():
                if done[id(part)]:
                    self._fill(files, kind, part, numbers)
                else:
                    numbers.zero_()

    def _load_buffers(self, files: Files) -> None:
        for name, buffer in self.zero.buffers().items():
            read_into(files, BUFFER, name.removeprefix(PREFIX), 0, buffer)

    def _fill(self, files: Files, kind: str, part: Part, numbers: Tensor) -> None:
        """Read numbers that this rank holds into their place."""
        for found in self.places[part.parameter].ranges(part.start, len(numbers)):
            read_into(files, kind, found.name, found.start, numbers[found.at : found.at + found.length])


def all_of(kind: str, name: str, numbers: Tensor) -> Entry:
    """An entry of a whole tensor."""
    flat = numbers.detach().reshape(-1)
    return Entry(flat, [Fragment(kind, name, 0, len(flat), flat.dtype)])


def read_into(files: Files, kind: str, name: str, start: int, numbers: Tensor) -> None:
    """Read a range into `numbers`, on any device and in any type; straight into their memory where that is possible."""
    stored = files.types.get((kind, name), numbers.dtype)
    flat = numbers.detach().view(-1)
    if flat.device.type == "cpu" and flat.dtype == stored:
        files.read(kind, name, start, flat)
        return
    for begin in range(0, len(flat), AT_ONCE):
        part = flat[begin : begin + AT_ONCE]
        read = torch.empty(len(part), dtype=stored)
        files.read(kind, name, start + begin, read)
        part.copy_(read)
