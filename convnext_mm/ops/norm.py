"""LayerNorm over the channels of rows (M, C), for whoever computes its gradients himself."""

from __future__ import annotations

import torch
from torch import Tensor

from convnext_mm.ops import choice
from convnext_mm.ops.pointwise import wide


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Normed (M, C) in `x`'s type, mean and reciprocal deviation (M, 1)."""
    return choice.run(_layer_norm, x.contiguous(), weight, bias, eps)


def layer_norm_backward(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of `x`, in its type, and of weight and bias."""
    grad, x = grad.contiguous(), x.contiguous()
    return choice.run(_layer_norm_backward, grad, x, mean, rstd, weight, bias)


def _layer_norm(x, weight, bias, eps):
    dtype = x.dtype
    weight, bias = (p.to(wide(dtype)) for p in (weight, bias))
    if x.device.type != 'cpu':  # whose kernel takes a narrow map with wide parameters
        x = x.to(weight.dtype)
    out, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
    return out.to(dtype), mean, rstd


def _layer_norm_backward(grad, x, mean, rstd, weight, bias):
    dtype = x.dtype
    # On a CPU, too: for a narrow map its kernel adds up the parameters' gradients in the narrow
    # type, and a sum of ones ends at 512 in bf16.
    grad, x, weight, bias = (t.to(wide(dtype)) for t in (grad, x, weight, bias))
    grad_x, *others = torch.ops.aten.native_layer_norm_backward(
        grad, x, list(x.shape[-1:]), mean, rstd, weight, bias, [True, True, True]
    )
    return grad_x.to(dtype), *others
