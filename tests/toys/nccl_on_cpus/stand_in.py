"""What stands for GPUs in a transfer by NCCL: the NCCL library over gloo, streams on a CPU, and deaths at chosen moments.

Everything else is real: the product's ends of the transfer and its communicator, vLLM's engines, and its packing into chunks.

The library behaves as NCCL does with a non-blocking communicator. A call returns "in progress" and works on in a thread. A wait for a dead
peer never ends by itself; it ends when its own communicator is aborted. A call on a communicator that is gone ends the process.
"""

import ctypes
import itertools
import os
import queue
import signal
import threading
import time
from contextlib import nullcontext
from datetime import timedelta
from functools import wraps

import torch
from torch.distributed import BroadcastOptions, PrefixStore, ProcessGroupGloo, TCPStore

# Which member dies where: "RANK:PLACE:NUMBER", with commas between. RANK is that in the transfer group; NUMBER counts in one process.
#   1:join:3         while it joins its third group
#   2:transfer:4     in its fourth transfer, after the first chunk
#   1:generation:2   in the first forward pass of its model after its second transfer
#   1:join:3!        the same moment, but the member is stopped instead of killed: its connections stay open
DEATHS = "TOY_NCCL_DEATHS"
CHUNK_BYTES = "TOY_NCCL_CHUNK_BYTES"
FOR_EVER = timedelta(days=1)
SUCCESS, INVALID, IN_PROGRESS = 0, 4, 7


class Member:
    """This process in its transfer group."""

    rank = -1
    joins = transfers = chunks = 0

    def fate(self, place, number):
        """The signal that this member gets there, if any: SIGKILL as from the out-of-memory killer, or SIGSTOP."""
        fates = os.environ.get(DEATHS, "").split(",")
        how = {"": signal.SIGKILL, "!": signal.SIGSTOP}
        return next((how[mark] for mark in how if f"{self.rank}:{place}:{number}{mark}" in fates), None)

    def reach(self, place, number):
        """Meet the fate of this moment."""
        if sent := self.fate(place, number):
            os.kill(os.getpid(), sent)


MEMBER = Member()


class Communicator:
    """The work of one communicator, done in order by a thread. What gloo reports as a lost peer it waits for, as NCCL would."""

    def __init__(self, world, port, rank):
        self.rank, self.failed = rank, threading.Event()
        self.work = queue.SimpleQueue()
        self.pending = 0
        self.gloo = None
        self.enqueue(lambda: self.connect(world, port))
        threading.Thread(target=self.run, daemon=True).start()

    @property
    def busy(self):
        return self.pending > 0

    def enqueue(self, work):
        self.pending += 1
        self.work.put(work)

    def run(self):
        while work := self.work.get():
            try:
                work()
            except RuntimeError as error:
                print(f"rank {self.rank} would wait for ever: {str(error).splitlines()[0]}", flush=True)
                return
            self.pending -= 1

    def connect(self, world, port):
        options = ProcessGroupGloo._Options()
        options._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        options._timeout = FOR_EVER
        self.store = TCPStore("127.0.0.1", port, world, is_master=False, timeout=FOR_EVER)  # gloo uses it until all peers are connected
        self.gloo = ProcessGroupGloo(PrefixStore("nccl", self.store), self.rank, world, options)

    def broadcast(self, where, size, root):
        options = BroadcastOptions()
        options.rootRank = root
        memory = (ctypes.c_uint8 * size).from_address(where)
        self.gloo.broadcast([torch.frombuffer(memory, dtype=torch.uint8)], options).wait()

    def end(self):
        self.pending = 0
        self.work.put(None)


COMMUNICATORS, NUMBERS, SERVERS = {}, itertools.count(1), []


def of(handle):
    """The communicator behind a handle; using one that is gone is what it is in C."""
    if handle.value not in COMMUNICATORS:
        print("a communicator is used that is gone", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    return COMMUNICATORS[handle.value]


class Library:
    """vLLM's handle on the NCCL library, as far as a transfer of weights uses it."""

    def __init__(self, so_file=None):
        self.lib = Functions()

    def ncclGetUniqueId(self):
        from vllm.distributed.device_communicators.pynccl_wrapper import ncclUniqueId

        SERVERS.append(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
        identity = ncclUniqueId()
        for place, byte in enumerate(SERVERS[-1].port.to_bytes(2, "little")):
            identity.internal[place] = byte - 256 * (byte > 127)
        return identity

    def ncclGetErrorString(self, result):
        return {INVALID: "invalid argument"}[result]


class Functions:
    """The library's functions: objects, as their types are declared on them."""

    def __init__(self):
        for function in (ncclCommInitRankConfig, ncclCommGetAsyncError, ncclBroadcast, ncclCommAbort):
            setattr(self, function.__name__, function)


def ncclCommInitRankConfig(handle, world, identity, rank, config):
    if config._obj.blocking != 0 or config._obj.magic != 0xCAFEBEEF or config._obj.size < 20:
        return INVALID
    MEMBER.rank, MEMBER.joins = rank, MEMBER.joins + 1
    MEMBER.reach("join", MEMBER.joins)
    handle._obj.value = next(NUMBERS)
    COMMUNICATORS[handle._obj.value] = Communicator(world, int.from_bytes(bytes(identity)[:2], "little"), rank)
    return IN_PROGRESS


def ncclCommGetAsyncError(handle, state):
    communicator = of(handle)
    state._obj.value = IN_PROGRESS if communicator.busy else SUCCESS
    return SUCCESS


def ncclBroadcast(send, receive, size, dtype, root, handle, stream):
    MEMBER.chunks += 1
    if MEMBER.chunks > 1:
        MEMBER.reach("transfer", MEMBER.transfers)
    communicator = of(handle)
    communicator.enqueue(lambda: communicator.broadcast(receive.value, size, root))
    # The sender goes on, as on a stream of a GPU. Whoever receives on a CPU reads the memory at once.
    return SUCCESS if communicator.rank == root else IN_PROGRESS


def ncclCommAbort(handle):
    communicator = of(handle)
    print(f"rank {communicator.rank} {'aborts' if communicator.busy else 'leaves'} its group", flush=True)
    communicator.end()
    del COMMUNICATORS[handle.value]
    return SUCCESS


class Stream:
    """A stream waits for the work of all communicators, for ever if need be."""

    cuda_stream = 0

    def synchronize(self):
        while any(communicator.busy for communicator in list(COMMUNICATORS.values())):
            time.sleep(0.001)


def without_streams(packed_tensor):
    """Let vLLM's packing run on a CPU, in chunks of the wanted size."""
    packed_tensor._get_streams = lambda device, count: (Stream(),) * count
    torch.cuda.stream = lambda stream: nullcontext()
    torch.accelerator.current_device_index = lambda: 0
    packed_tensor.DEFAULT_PACKED_BUFFER_SIZE_BYTES = int(os.environ.get(CHUNK_BYTES, packed_tensor.DEFAULT_PACKED_BUFFER_SIZE_BYTES))


def repacking(engine):
    """Let vLLM's CPU kernel for experts pack the weights of every update: it packs them only while it has none."""
    start, receive = engine.start_weight_update, engine.receive_weights

    @wraps(start)
    def start_weight_update(self):
        for module in self.model.modules():
            method = getattr(module, "quant_method", None)
            if getattr(method, "moe_kernel", None) is not None:
                method.moe_kernel = None
        start(self)

    @wraps(receive)
    def receive_weights(self, update_info):
        MEMBER.transfers, MEMBER.chunks = MEMBER.transfers + 1, 0
        receive(self, update_info)
        print(f"transfer {MEMBER.transfers}: {MEMBER.chunks} chunks as rank {MEMBER.rank}", flush=True)
        if sent := MEMBER.fate("generation", MEMBER.transfers):
            self.model.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), sent))

    engine.start_weight_update, engine.receive_weights = start_weight_update, receive_weights


def allowing(needs_of_gpus):
    """All that needs GPUs but the transfer."""

    @wraps(needs_of_gpus)
    def needs(config):
        return (need for need in needs_of_gpus(config) if not need.startswith("rollout.transfer"))

    return needs
