"""RMS norms on CPUs by the kernels of vLLM's CPU build: vLLM asks for its kernels on GPUs alone, and on CPUs norms operation by operation.

Only in float32: in half precision its plain way rounds where transformers rounds, and the kernels do not.
"""

import torch
from torch import Tensor
from vllm import ir
from vllm.platforms import current_platform

CPU_KERNELS = "cpu_kernels"
PRIORITY = {"rms_norm": [CPU_KERNELS, "native"], "fused_add_rms_norm": [CPU_KERNELS, "native"]}  # for vLLM's `ir_op_priority`
REGISTER = 16  # numbers that the kernels take at once, without looking for the end of a row

current_platform.import_ir_kernels()


def fits(x: Tensor, weight: Tensor | None, variance_size: int | None) -> bool:
    """Whether the kernels can norm the last dimension of `x`."""
    if weight is None or variance_size is not None or not x.dtype == weight.dtype == torch.float32:
        return False
    return x.shape[-1] % REGISTER == 0 and weight.shape == x.shape[-1:] and weight.is_contiguous()


def _fits_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    return fits(x, weight, variance_size)


def _fits_sum(x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    apart = x_residual.shape == x.shape and x_residual.dtype == x.dtype and x_residual.data_ptr() != x.data_ptr()
    return fits(x, weight, variance_size) and apart and x.is_contiguous() and x_residual.is_contiguous()


@ir.ops.rms_norm.register_impl(CPU_KERNELS, supported=current_platform.is_cpu(), supports_args=_fits_norm)
def rms_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> Tensor:
    """`x` [..., H] divided by the root of its mean square, times `weight` [H]."""
    normed = torch.empty(x.shape, dtype=x.dtype)
    torch.ops._C.rms_norm(normed, x.contiguous(), weight, epsilon)  # the kernel takes rows to lie behind one another
    return normed


@ir.ops.fused_add_rms_norm.register_impl(CPU_KERNELS, supported=current_platform.is_cpu(), supports_args=_fits_sum, inplace=True)
def fused_add_rms_norm(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """The norm of `x + x_residual` [..., H] and that sum, in the places of `x` and `x_residual`."""
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual
