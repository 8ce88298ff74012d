"""vLLM's kernels norm as its plain way does, on all that they are asked to; what they cannot take is left to the plain way."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from vllm import ir

from configs.loader import load
from rollout.engine.args import engine_args
from rollout.transfer.transport import choose_transport
from rollout.worker.cpu_norms import CPU_KERNELS, PRIORITY
from tests.toys.drive import CONFIG

EPSILON = 1e-6


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float32).to(dtype)


INPUTS = {
    "rows": drawn(7, 48),
    "heads": drawn(5, 3, 32),
    "heads between others, as a split leaves them": drawn(6, 10, 32)[:, 2:6],
    "columns between others": drawn(6, 96)[:, 32:64],
    "a turned matrix": drawn(32, 9).T,
    "no tokens": drawn(0, 32),
    "one token": drawn(1, 16),
}


@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_a_norm_is_that_of_the_plain_way(x: Tensor) -> None:
    weight = drawn(x.shape[-1])
    wanted = ir.ops.rms_norm.impls["native"].impl_fn(x, weight, EPSILON)
    with ir.ops.rms_norm.set_priority(PRIORITY["rms_norm"]):
        assert ir.ops.rms_norm.dispatch(x, weight, EPSILON).provider == CPU_KERNELS
        found = ir.ops.rms_norm(x, weight, EPSILON)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 48), (5, 3, 32), (1, 16)])
def test_so_is_a_norm_of_a_sum_and_the_sum_itself(shape: tuple[int, ...]) -> None:
    x, residual, weight = drawn(*shape), drawn(*shape) * 3, drawn(shape[-1])
    wanted = ir.ops.fused_add_rms_norm.impls["native"].impl_fn(x.clone(), residual.clone(), weight, EPSILON)
    with ir.ops.fused_add_rms_norm.set_priority(PRIORITY["fused_add_rms_norm"]):
        assert ir.ops.fused_add_rms_norm.dispatch(x, residual, weight, EPSILON).provider == CPU_KERNELS
        found = ir.ops.fused_add_rms_norm.maybe_inplace(x.clone(), residual.clone(), weight, EPSILON)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_plain_way_keeps_what_the_kernels_would_round_otherwise_or_run_past() -> None:
    norm, added = ir.ops.rms_norm, ir.ops.fused_add_rms_norm
    x, weight = drawn(4, 32), drawn(32)
    half = drawn(4, 32, dtype=torch.bfloat16)
    with norm.set_priority(PRIORITY["rms_norm"]), added.set_priority(PRIORITY["fused_add_rms_norm"]):
        assert norm.dispatch(half, weight.bfloat16(), EPSILON).provider == "native"
        assert norm.dispatch(x, weight.bfloat16(), EPSILON).provider == "native"
        assert norm.dispatch(x, None, EPSILON).provider == "native"
        assert norm.dispatch(x, weight, EPSILON, 16).provider == "native"
        assert norm.dispatch(drawn(4, 24), drawn(24), EPSILON).provider == "native"
        assert added.dispatch(x, drawn(4, 64)[:, :32], weight, EPSILON).provider == "native"
        assert added.dispatch(x, half, weight, EPSILON).provider == "native"
        assert added.dispatch(x, x, weight, EPSILON).provider == "native", "the sum would be written over what is normed"
        assert added.dispatch(x, drawn(32), weight, EPSILON).provider == "native"
        assert norm.dispatch(x, drawn(1), EPSILON).provider == "native"
        assert norm.dispatch(x, drawn(64)[::2], EPSILON).provider == "native"
        assert added.dispatch(x, x.clone(), weight, EPSILON).provider == CPU_KERNELS


def test_a_worker_that_imports_nothing_else_of_ours_has_them() -> None:
    said = "import rollout.worker.weight_receiver; from vllm import ir; print([*ir.ops.rms_norm.impls, *ir.ops.fused_add_rms_norm.impls])"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count(CPU_KERNELS) == 2


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ([], True),
        (["rollout.vllm.enforce_eager=false"], False),
        (["rollout.vllm.kernel_config={ir_op_priority={rms_norm=['native']}}"], False),
        (["rollout.vllm.kernel_config={moe_backend='auto'}"], True),
        (["rollout.vllm.ir_op_priority={rms_norm=['native']}"], False),
    ],
    ids=["eager", "compiled", "kernels of the user's", "other kernels of the user's", "an order of the user's"],
)
def test_engines_that_compile_nothing_ask_for_them_unless_the_user_does(keys: list[str], asked: bool) -> None:
    config = load(CONFIG, keys)
    found = engine_args(config, choose_transport(config, gpu=False))
    assert (found.ir_op_priority.rms_norm == PRIORITY["rms_norm"]) == asked
