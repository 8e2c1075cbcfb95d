"""Merge layer scale, the stochastic depth factor and the dtype cast into the linear layers.

A block multiplies the output of its second linear layer by gamma (layer scale) and by
``1 / keep_prob`` (stochastic depth). Both are constant over the map, so they can be multiplied
into the weight and bias of that layer instead: ``W' = s gamma W`` and ``b' = s gamma b``. The
scaled map is then neither computed nor kept. The backward pass gets dW' and db' and splits them::

    dW = s gamma dW'      db = s gamma db'      dgamma_c = s (sum_k dW'_ck W_ck + db'_c b_c)
"""

from __future__ import annotations

import torch
from torch import Tensor


def merge_params(
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    gamma: Tensor | None,
    scale: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the four parameters in `dtype`, the second layer multiplied by gamma and `scale`.

    Args:
        weight1, bias1: The first linear layer, (4C, C) and (4C,).
        weight2, bias2: The second linear layer, (C, 4C) and (C,).
        gamma: Layer scale (C,), or None for 1.
        scale: The stochastic depth factor, 1 / keep_prob.
        dtype: The dtype that the layers compute in.
    """
    params = weight1, bias1, weight2, bias2
    if gamma is None and scale == 1.0 and all(p.dtype == dtype for p in params):
        return params
    factor = scale if gamma is None else gamma * scale
    column = scale if gamma is None else factor[:, None]
    second = (weight2 * column).to(dtype), (bias2 * factor).to(dtype)
    return weight1.to(dtype), bias1.to(dtype), *second


def split_param_grads(
    grad_weight: Tensor,
    grad_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of weight, bias and gamma from the gradients of the merged layer.

    Args:
        grad_weight, grad_bias: Gradients of the merged second layer, (C, 4C) and (C,), in their
            accumulation dtype.
        weight, bias, gamma, scale: The arguments that were merged.
    """
    if gamma is None:
        if scale == 1.0:
            return grad_weight, grad_bias, None
        return grad_weight * scale, grad_bias * scale, None
    factor = gamma * scale
    grad_gamma = ((grad_weight * weight).sum(1) + grad_bias * bias) * scale
    return grad_weight * factor[:, None], grad_bias * factor, grad_gamma
