"""LayerNorm over the channels of rows (M, C), for whoever computes its gradients himself."""

from __future__ import annotations

import torch
from torch import Tensor

from convnext_mm.ops import choice


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
    if x.device.type == 'cpu':  # takes a narrow map with wide parameters
        return torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
    wide = x.to(weight.dtype)
    out, mean, rstd = torch.native_layer_norm(wide, x.shape[-1:], weight, bias, eps)
    return out.to(x.dtype), mean, rstd


def _layer_norm_backward(grad, x, mean, rstd, weight, bias):
    dtype = x.dtype
    if x.device.type != 'cpu':
        grad, x = grad.to(weight.dtype), x.to(weight.dtype)
    grad_x, *others = torch.ops.aten.native_layer_norm_backward(
        grad, x, list(x.shape[-1:]), mean, rstd, weight, bias, [True, True, True]
    )
    return grad_x.to(dtype), *others
