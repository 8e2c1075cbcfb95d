"""Matrix products: oneDNN's where it is faster, and accumulation in fp32."""

from __future__ import annotations

import platform
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

from convnext_mm.ops.dtypes import accumulation_dtype

# The linear layer of oneDNN. On AMD processors it is up to 10% faster in fp32 than MKL, which
# F.linear calls. PyTorch has no public function for it. torch.compile emits this operator.
_ONEDNN_LINEAR = getattr(torch.ops.mkldnn, '_linear_pointwise', None)
if _ONEDNN_LINEAR is not None and _ONEDNN_LINEAR not in flop_registry:

    @register_flop_formula(_ONEDNN_LINEAR)
    def _linear_flops(rows, weight, *_, out_shape=None, **__) -> int:
        return 2 * rows[0] * weight[0] * weight[1]


# cuBLAS returns a product of bf16 or fp16 matrices in fp32 through this overload.
_MM_WITH_DTYPE = None if torch.version.hip else getattr(torch.ops.aten.mm, 'dtype', None)


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows @ weight.T + bias: (M, K) with (C, K) and (C,) -> (M, C)."""
    if _use_onednn(rows):
        return _ONEDNN_LINEAR(rows, weight, bias, 'none', [], '')
    return F.linear(rows, weight, bias)


def linear_gelu(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return GELU(rows @ weight.T + bias). oneDNN computes it without an intermediate map."""
    if _use_onednn(rows):
        return _ONEDNN_LINEAR(rows, weight, bias, 'gelu', [], 'none')
    return F.gelu(F.linear(rows, weight, bias))


def add_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Return `total` + a @ b in their accumulation dtype, in place; a @ b if `total` is None."""
    dtype = accumulation_dtype(a.dtype)
    if total is not None and a.dtype == dtype:
        return total.addmm_(a, b)
    if a.is_cuda and _MM_WITH_DTYPE is not None and a.dtype != dtype:
        product = _MM_WITH_DTYPE(a, b, dtype)
    else:
        product = (a @ b).to(dtype)
    return product if total is None else total.add_(product)


def _use_onednn(rows: Tensor) -> bool:
    return (
        _ONEDNN_LINEAR is not None
        and rows.device.type == 'cpu'
        and type(rows) is Tensor  # the operator has no rule for subclasses
        and _onednn_supports(rows.dtype)
        and torch.backends.mkldnn.enabled
    )


@cache
def _onednn_supports(dtype: torch.dtype) -> bool:
    if platform.machine() not in ('x86_64', 'AMD64') or not torch.backends.mkldnn.is_available():
        return False
    # Unlike F.linear, the operator fails on a processor without bf16 instructions.
    bf16 = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 or bf16
