"""Lets the processes of a run send weights by NCCL on a machine without GPUs. Python imports it at start-up from PYTHONPATH.

Each replacement is made when a process imports the module that it changes, so that processes without vLLM stay without it.
"""

from wrapt import register_post_import_hook

VLLM = "vllm.distributed"


def _allow(fit):
    from stand_in import allowing

    fit.needs_of_gpus = allowing(fit.needs_of_gpus)


def _load(pynccl_wrapper):
    from stand_in import Library

    pynccl_wrapper.NCCLLibrary = Library


def _stream(torch_utils):
    from stand_in import Stream

    torch_utils.current_stream = Stream


def _pack(packed_tensor):
    from stand_in import without_streams

    without_streams(packed_tensor)


def _receive(nccl_engine):
    from stand_in import repacking

    repacking(nccl_engine.NCCLWeightTransferEngine)


register_post_import_hook(_allow, "cluster.actors.places.fit")
register_post_import_hook(_load, f"{VLLM}.device_communicators.pynccl_wrapper")
register_post_import_hook(_stream, "vllm.utils.torch_utils")
register_post_import_hook(_pack, f"{VLLM}.weight_transfer.packed_tensor")
register_post_import_hook(_receive, f"{VLLM}.weight_transfer.nccl_engine")
