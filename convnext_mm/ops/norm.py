"""LayerNorm over (M, C) rows that also returns mean and rstd for the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from convnext_mm.ops import kernel_choice
from convnext_mm.ops.dtypes import accumulation_dtype


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Return the normalised rows in the dtype of `x`, the mean (M, 1) and the rstd (M, 1)."""
    return kernel_choice.run('layer_norm', _layer_norm, x.contiguous(), weight, bias, eps)


def layer_norm_backward(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of `x` (in its dtype), weight and bias (in their accumulation dtype)."""
    args = grad.contiguous(), x.contiguous(), mean, rstd, weight, bias
    return kernel_choice.run('layer_norm_backward', _layer_norm_backward, *args)


def _layer_norm(x, weight, bias, eps):
    dtype = x.dtype
    weight, bias = (p.to(accumulation_dtype(dtype)) for p in (weight, bias))
    if x.device.type != 'cpu':  # only the CPU kernel takes a bf16 map with fp32 parameters
        x = x.to(weight.dtype)
    out, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
    return out.to(dtype), mean, rstd


def _layer_norm_backward(grad, x, mean, rstd, weight, bias):
    dtype = x.dtype
    # Cast on a CPU as well. For a bf16 map the CPU kernel sums the parameter gradients in bf16,
    # where a sum of ones stops growing after a few hundred.
    grad, x, weight, bias = (t.to(accumulation_dtype(dtype)) for t in (grad, x, weight, bias))
    grad_x, *others = torch.ops.aten.native_layer_norm_backward(
        grad, x, list(x.shape[-1:]), mean, rstd, weight, bias, [True, True, True]
    )
    return grad_x.to(dtype), *others
