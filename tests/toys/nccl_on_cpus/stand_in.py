"""What stands for GPUs in a transfer by NCCL: a communicator over gloo, no streams, and deaths at chosen moments.

Everything else is real: the product's ends of the transfer, vLLM's engines of it, and its packing into chunks.
"""

import os
import signal
import time
from contextlib import nullcontext
from datetime import timedelta
from functools import wraps

import torch
from torch.distributed import BroadcastOptions, PrefixStore, ProcessGroupGloo

# Which member dies where: "RANK:PLACE:NUMBER", with commas between. RANK is that in the transfer group; NUMBER counts in one process.
#   1:join:3         while it joins its third group
#   2:transfer:4     in its fourth transfer, after the first chunk
#   1:generation:2   in the first forward pass of its model after its second transfer
DEATHS = "TOY_NCCL_DEATHS"
CHUNK_BYTES = "TOY_NCCL_CHUNK_BYTES"
FOR_EVER = timedelta(days=1)


class Member:
    """This process in its transfer group."""

    rank = -1
    joins = transfers = chunks = 0

    def dies(self, place, number):
        """Whether this member is to die now."""
        return f"{self.rank}:{place}:{number}" in os.environ.get(DEATHS, "").split(",")


MEMBER = Member()


def die():
    """End as the out-of-memory killer ends a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_ever():
    """What NCCL does when a peer is dead: it hears no signal but SIGKILL, and those that end a process without a handler."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(FOR_EVER.total_seconds())


class Communicator:
    """vLLM's PyNcclCommunicator over gloo, as far as a transfer of weights uses it. Nothing in it has a deadline."""

    def __init__(self, group, device, library_path=None):
        self.rank, self.world_size = group.rank, group.world_size
        MEMBER.rank, MEMBER.joins = self.rank, MEMBER.joins + 1
        if MEMBER.dies("join", MEMBER.joins):
            die()
        options = ProcessGroupGloo._Options()
        options._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        options._timeout = FOR_EVER
        self.store = group.store  # gloo uses it until all peers are connected
        try:
            self.gloo = ProcessGroupGloo(PrefixStore("nccl", group.store), self.rank, self.world_size, options)
        except RuntimeError:
            wait_for_ever()

    def broadcast(self, tensor, src, stream=None):
        MEMBER.chunks += 1
        if MEMBER.chunks > 1 and MEMBER.dies("transfer", MEMBER.transfers):
            die()
        options = BroadcastOptions()
        options.rootRank = src
        try:
            self.gloo.broadcast([tensor], options).wait()
        except RuntimeError:  # gloo notices a dead peer
            wait_for_ever()

    def destroy(self):
        print(f"rank {self.rank} leaves its group", flush=True)
        del self.gloo, self.store


class Stream:
    """Work on a CPU is done when a call returns."""

    def synchronize(self):
        pass


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
        if MEMBER.dies("generation", MEMBER.transfers):
            self.model.register_forward_pre_hook(lambda *_: die())

    engine.start_weight_update, engine.receive_weights = start_weight_update, receive_weights


def allowing(needs_of_gpus):
    """All that needs GPUs but the transfer."""

    @wraps(needs_of_gpus)
    def needs(config):
        return (need for need in needs_of_gpus(config) if not need.startswith("rollout.transfer"))

    return needs
