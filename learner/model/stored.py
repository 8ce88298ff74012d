"""The tensors in a model's safetensors files: names and shapes at once, then one tensor at a time.

Files are read into memory of their own and never mapped, so that a rank's memory is what it holds and not what it has read.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from safetensors import safe_open
from torch import Tensor


class Stored:
    """Open safetensors files of one model; close them by leaving the `with` block."""

    def __init__(self, files: Sequence[str]) -> None:
        """ValueError where two files hold a tensor of the same name."""
        self.opened = ExitStack()
        self.home: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.readers = {file: self.opened.enter_context(safe_open(file, framework="pt", backend="pread")) for file in files}
        for file, reader in self.readers.items():
            for name in reader.keys():  # noqa: SIM118 - a reader is no mapping
                if name in self.home:
                    self.opened.close()
                    raise ValueError(f"{name} is in two files, {self.home[name]} and {file}: download the model again")
                self.home[name], self.shapes[name] = file, tuple(reader.get_slice(name).get_shape())

    def __enter__(self) -> "Stored":
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def read(self, name: str) -> Tensor:
        """The tensor, in its own type and in host memory."""
        tensor: Tensor = self.readers[self.home[name]].get_tensor(name)
        return tensor

    def empty(self, name: str) -> Tensor:
        """A tensor of the same shape that holds no data."""
        return torch.empty(self.shapes[name], device="meta")
