"""A group of members that broadcast over NCCL and can be called back.

NCCL itself waits for a dead member forever. Its way out is `ncclCommAbort`, which may be called at any moment on a communicator that was
made non-blocking: such a call returns "in progress" instead of waiting inside the library, and the caller asks until it is done. vLLM's own
communicator blocks, so this one takes its place; vLLM's packing needs only its `broadcast`.
"""

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from vllm.distributed.device_communicators import pynccl_wrapper
from vllm.distributed.device_communicators.pynccl_wrapper import buffer_type, cudaStream_t, ncclComm_t, ncclDataTypeEnum, ncclUniqueId
from vllm.utils import torch_utils

from rollout.transfer.recall import CalledBack, Line

SUCCESS, IN_PROGRESS = 0, 7  # of ncclResult_t
ASK_S = 0.001


class NcclConfig(ctypes.Structure):
    """ncclConfig_t as NCCL 2.14 had it. Later versions read the fields that a config of its version has, and take defaults for the rest."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("magic", ctypes.c_uint),
        ("version", ctypes.c_uint),
        ("blocking", ctypes.c_int),
    )


def non_blocking() -> NcclConfig:
    """The config of a communicator whose calls never wait."""
    return NcclConfig(size=ctypes.sizeof(NcclConfig), magic=0xCAFEBEEF, version=21400, blocking=0)


def load_nccl() -> Any:
    """vLLM's handle on the NCCL library, with two functions that vLLM does not declare."""
    library = pynccl_wrapper.NCCLLibrary()
    declared = {
        "ncclCommInitRankConfig": [ctypes.POINTER(ncclComm_t), ctypes.c_int, ncclUniqueId, ctypes.c_int, ctypes.POINTER(NcclConfig)],
        "ncclCommGetAsyncError": [ncclComm_t, ctypes.POINTER(ctypes.c_int)],
    }
    for name, arguments in declared.items():
        function = getattr(library.lib, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    return library


def numbered(device: torch.device) -> torch.device:
    """The device with its number: in the watch's thread another one may be the current one."""
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device


class NcclGroup:
    """This process's communicator. Its owner works in one thread; the watch may abort it from another."""

    def __init__(self, line: Line, rank: int, world: int, device: torch.device) -> None:
        """Meet the other members; raises CalledBack, also past the line's deadline."""
        self.line, self.rank, self.device = line, rank, numbered(device)
        self.nccl = load_nccl()
        self.comm = ncclComm_t()
        self.lost = ""  # why it was aborted
        self._calling = threading.Lock()  # a call on a communicator that another thread frees would end this process
        line.meet(world)  # so that NCCL is not entered before all have come
        if rank == 0:
            line.store.set("id", bytes(self.nccl.ncclGetUniqueId()).hex())
        received = bytes.fromhex(line.wait("id", "the group's NCCL id").decode())
        identity = ncclUniqueId.from_buffer_copy(received)
        config = non_blocking()
        with ExitStack() as undo, self.recallable():
            undo.callback(self.abort, "it could not join its group")
            self._call(lambda lib: lib.ncclCommInitRankConfig(ctypes.byref(self.comm), world, identity, rank, ctypes.byref(config)))
            connecting = torch.zeros(1, dtype=torch.uint8, device=device)
            self.broadcast(connecting, src=0)  # NCCL connects members in their first broadcast
            torch_utils.current_stream().synchronize()
            undo.pop_all()

    @contextmanager
    def recallable(self) -> Iterator[None]:
        """Within it the group is aborted once it is called back or NCCL reports an error; then CalledBack is raised, whatever else is."""
        try:
            with self.line.watch(self.abort, self._fault):
                yield
        finally:
            if self.lost:  # NCCL ends a broadcast that is aborted as if it were done
                raise CalledBack(self.lost)

    def broadcast(self, tensor: torch.Tensor, src: int, stream: Any = None) -> None:
        """Enqueue a copy of `src`'s bytes into every member's `tensor`."""
        where = buffer_type(tensor.data_ptr())
        size = tensor.numel() * tensor.element_size()
        queue = cudaStream_t((stream or torch_utils.current_stream()).cuda_stream)
        self._call(lambda lib: lib.ncclBroadcast(where, where, size, ncclDataTypeEnum.ncclUint8, src, self.comm, queue))

    def abort(self, reason: str) -> None:
        """End every wait of this process in the group, and free NCCL's buffers and threads. The group is of no use after it."""
        with self._calling:
            if self.lost:
                return
            self.lost = reason
            if self.comm.value:
                with self._on_device():
                    self.nccl.lib.ncclCommAbort(self.comm)

    def destroy(self) -> None:
        """Leave the group."""
        self.abort("its group was left")

    def _call(self, work: Callable[[Any], int]) -> None:
        """Call NCCL and wait until it has taken the work; raises CalledBack if the group is aborted meanwhile."""
        result = self._locked(work)
        while result == IN_PROGRESS:
            time.sleep(ASK_S)
            result = self._locked(self._state)
        if result != SUCCESS:
            raise RuntimeError(f"NCCL error: {self.nccl.ncclGetErrorString(result)}")

    def _locked(self, work: Callable[[Any], int]) -> int:
        with self._calling:
            if self.lost:
                raise CalledBack(self.lost)
            with self._on_device():
                return work(self.nccl.lib)

    def _state(self, lib: Any) -> int:
        state = ctypes.c_int(SUCCESS)
        asked = int(lib.ncclCommGetAsyncError(self.comm, ctypes.byref(state)))
        return asked or state.value

    def _fault(self) -> str:
        """What NCCL itself reports: a lost connection, or a member that has ended."""
        with self._calling:
            state = self._state(self.nccl.lib) if self.comm.value and not self.lost else SUCCESS
        return "" if state in (SUCCESS, IN_PROGRESS) else f"NCCL error: {self.nccl.ncclGetErrorString(state)}"

    def _on_device(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
