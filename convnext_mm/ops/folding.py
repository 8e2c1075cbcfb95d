"""Layer scale, drop path's factor and the cast to the map's type, folded into the linear layers.

The branch's last step, times gamma and 1 / keep, is the second layer with other weights. Their
gradients give those of what was folded: dW = gamma dW', db = gamma db' and
dgamma_c = sum_k dW'_ck W_ck + db'_c b_c, so the scaled map is neither made nor kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convnext_mm.ops import choice


def fold(
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    gamma: Tensor | None,
    scale: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights and biases of both layers in `dtype`, those of the second times gamma and `scale`.

    Args:
        weight1, bias1: (4C, C) and (4C,).
        weight2, bias2: (C, 4C) and (C,).
        gamma: Layer scale (C,); None: 1.
        scale: Drop path's factor.
        dtype: What the layers compute in.
    """
    layers = weight1, bias1, weight2, bias2
    if gamma is None and scale == 1.0 and all(p.dtype == dtype for p in layers):
        return layers
    return choice.run(_fold, *layers, gamma, scale, dtype)


def unfold(
    grad_weight: Tensor,
    grad_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of the second layer's weight and bias and of gamma from those of the folded layer.

    Args:
        grad_weight, grad_bias: Of the folded layer, (C, 4C) and (C,), in fp32 or wider.
        weight, bias, gamma, scale: As they were folded.
    """
    if gamma is None and scale == 1.0:
        return grad_weight, grad_bias, None
    return choice.run(_unfold, grad_weight, grad_bias, weight, bias, gamma, scale)


def _fold(weight1, bias1, weight2, bias2, gamma, scale, dtype):
    factor = scale if gamma is None else gamma * scale
    column = scale if gamma is None else factor[:, None]
    second = (weight2 * column).to(dtype), (bias2 * factor).to(dtype)
    return weight1.to(dtype), bias1.to(dtype), *second


def _unfold(grad_weight, grad_bias, weight, bias, gamma, scale):
    if gamma is None:
        return grad_weight * scale, grad_bias * scale, None
    factor = gamma * scale
    grad_gamma = ((grad_weight * weight).sum(1) + grad_bias * bias) * scale
    return grad_weight * factor[:, None], grad_bias * factor, grad_gamma
