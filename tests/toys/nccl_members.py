"""Members of a transfer group over the NCCL stand-in, each in a process of its own that can be killed, without vLLM."""

import ctypes
import importlib
import multiprocessing
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from rollout.transfer.meeting import free_socket, open_store
from rollout.transfer.recall import Line
from rollout.transfer.transport import Rendezvous

CHUNKS, BYTES = 4, 1000
LINGER_S = 30


class UniqueId(ctypes.Structure):
    """As in vLLM's wrapper of NCCL."""

    _fields_ = (("internal", ctypes.c_byte * 128),)


def without_vllm() -> Any:
    """Our group, with the stand-in behind what it imports from vLLM; for a process that ends soon."""
    sys.path.insert(0, str(Path(__file__).parent / "nccl_on_cpus"))
    stand_in = importlib.import_module("stand_in")
    wrapper: Any = ModuleType("vllm.distributed.device_communicators.pynccl_wrapper")
    for name in ("buffer_type", "cudaStream_t", "ncclComm_t"):
        setattr(wrapper, name, ctypes.c_void_p)
    wrapper.ncclUniqueId, wrapper.NCCLLibrary, wrapper.ncclDataTypeEnum = UniqueId, stand_in.Library, type("", (), {"ncclUint8": 1})
    utils: Any = ModuleType("vllm.utils")
    utils.torch_utils = type("", (), {"current_stream": stand_in.Stream})
    communicators: Any = ModuleType("vllm.distributed.device_communicators")
    communicators.pynccl_wrapper = wrapper
    for module in (ModuleType("vllm"), ModuleType("vllm.distributed"), communicators, wrapper, utils):
        sys.modules[module.__name__] = module
    return importlib.import_module("rollout.transfer.nccl_group")


class Members:
    """The processes of one group, and what each says: "joined", "received", or the error that ended its wait."""

    def __init__(self, world: int, deadline_s: float = 60.0, deaths: str = "") -> None:
        self.fork: Any = multiprocessing.get_context("fork")
        self.listener = free_socket("127.0.0.1")
        self.meeting = Rendezvous(name="publish-1", host="127.0.0.1", port=self.listener.getsockname()[1], world_size=world)
        self.deadline_s, self.deaths = deadline_s, deaths
        self.said = [self.fork.Queue() for _ in range(world)]
        self.processes = [self.fork.Process(target=self._work, args=(rank,), daemon=True) for rank in range(world)]

    def start(self, *ranks: int) -> None:
        for rank in ranks:
            self.processes[rank].start()
        if 0 in ranks:
            self.listener.close()

    def hear(self, rank: int, within_s: float = 20.0) -> str:
        said: str = self.said[rank].get(timeout=within_s)
        return said

    def end(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                process.kill()
                process.join()

    def _work(self, rank: int) -> None:
        os.environ["TOY_NCCL_DEATHS"] = self.deaths
        meeting, say = self.meeting, self.said[rank].put
        if rank != 0:
            self.listener.close()  # else connections were accepted after the death of the first rank
        group = without_vllm()
        try:
            listener = self.listener if rank == 0 else None
            store = open_store(meeting.host, meeting.port, meeting.world_size, self.deadline_s, listener)
            member = group.NcclGroup(Line(store, meeting.name, self.deadline_s), rank, meeting.world_size, torch.device("cpu"))
            say("joined")
            with member.recallable():
                for chunk in range(CHUNKS):
                    tensor = torch.full((BYTES,), chunk + 1 if rank == 0 else 0, dtype=torch.uint8)
                    member.broadcast(tensor, src=0)
                    assert tensor.tolist() == [chunk + 1] * BYTES
                    group.torch_utils.current_stream().synchronize()
            say("received")
            member.destroy()
        except Exception as error:
            say(f"{type(error).__name__}: {error}")
        self.said[rank].close()
        self.said[rank].join_thread()
        time.sleep(LINGER_S * (rank == 0))  # its store outlives those that ask it
        os._exit(0)
