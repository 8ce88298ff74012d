"""A buffer that two processes of one machine share, and its address in words: CUDA IPC on a GPU, a file of `/dev/shm` on CPU.

The address is JSON of numbers and base64: no pickle, so whoever reads it runs no code of whoever wrote it.
"""

import base64
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import rebuild_cuda_tensor, reduce_tensor

SHARED = Path("/dev/shm")
PREFIX = "gatewise-"


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaAddress:
    """The fields of torch's CUDA IPC handle that are not known of a flat buffer of bytes."""

    gpu: str  # UUID
    size: int
    offset: int  # of the tensor in its storage
    handle: str
    storage_bytes: int
    storage_offset: int
    counter: str
    counter_offset: int
    event: str
    waits: bool  # for the event


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAddress:
    """A file that holds the buffer."""

    path: str
    size: int


class Exported:
    """A buffer of this process that one other process may map. Close it once that process has closed its end.

    OSError where `/dev/shm` has no room for it.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.path: Path | None = None
        if device.type == "cuda":
            self.buffer = torch.empty(size, dtype=torch.uint8, device=device)
            self.address = write_address(_cuda_address(self.buffer))
            return
        file, name = tempfile.mkstemp(prefix=PREFIX, dir=SHARED)  # readable by this user alone
        self.path = Path(name)
        try:
            os.posix_fallocate(file, 0, size)  # else the first write into a full /dev/shm kills the process
        except OSError as error:
            self.hide()
            raise OSError(
                f"{SHARED} has no room for a buffer of {size} bytes ({error.strerror}): enlarge it (docker run --shm-size=1g), or set "
                'rollout.transfer = "gloo"'
            ) from error
        finally:
            os.close(file)
        self.buffer = torch.from_file(name, shared=True, size=size, dtype=torch.uint8)
        self.address = write_address(FileAddress(path=name, size=size))

    def hide(self) -> None:
        """Take the buffer's name away once the other process has mapped it: then nothing stays behind where both are killed."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the memory back."""
        self.hide()
        on_gpu = self.buffer.is_cuda
        del self.buffer
        if on_gpu:
            torch.cuda.ipc_collect()
            torch.cuda.empty_cache()


def map_buffer(address: str, device: torch.device) -> Tensor:
    """The buffer at an address, as bytes; ValueError if it lies on another GPU or is no buffer of ours."""
    there = read_address(address)
    if isinstance(there, FileAddress):
        path = Path(there.path)
        if path.parent != SHARED or not path.name.startswith(PREFIX):
            raise ValueError(f"{there.path} is no buffer of a learner rank: needed a file {SHARED}/{PREFIX}…")
        return torch.from_file(there.path, shared=True, size=there.size, dtype=torch.uint8)
    mine = str(torch.cuda.get_device_properties(device).uuid)
    if mine != there.gpu:
        raise ValueError(f"the learner rank beside this worker is on GPU {there.gpu}, the worker on {mine}: they must share one")
    index = device.index or 0
    return rebuild_cuda_tensor(
        Tensor, torch.Size([there.size]), (1,), there.offset, torch.storage.TypedStorage, torch.uint8, index, _bytes(there.handle),
        there.storage_bytes, there.storage_offset, False, _bytes(there.counter), there.counter_offset, _bytes(there.event), there.waits,
    )  # type: ignore[no-untyped-call,no-any-return]  # fmt: skip


def write_address(address: CudaAddress | FileAddress) -> str:
    return json.dumps(asdict(address))


def read_address(text: str) -> CudaAddress | FileAddress:
    """The address that `write_address` wrote; ValueError if it is something else."""
    found: Any = json.loads(text)
    for kind in (CudaAddress, FileAddress):
        if isinstance(found, dict) and found.keys() == set(kind.__dataclass_fields__):
            return kind(**found)
    raise ValueError(f"{text!r:.80} is no address of a shared buffer")


def _cuda_address(buffer: Tensor) -> CudaAddress:
    rebuild, found = reduce_tensor(buffer)  # type: ignore[no-untyped-call]
    assert rebuild is rebuild_cuda_tensor, "the buffer is on a GPU"
    _, size, _, offset, _, _, _, handle, storage_bytes, storage_offset, _, counter, counter_offset, event, waits = found
    return CudaAddress(
        gpu=str(torch.cuda.get_device_properties(buffer.device).uuid),
        size=size[0],
        offset=offset,
        handle=_text(handle),
        storage_bytes=storage_bytes,
        storage_offset=storage_offset,
        counter=_text(counter),
        counter_offset=counter_offset,
        event=_text(event),
        waits=waits,
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
