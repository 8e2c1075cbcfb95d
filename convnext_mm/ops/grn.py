"""Global Response Normalization over (M, C) rows, and its gradients.

The same computation as :class:`convnext_mm.layers.GRN`, which documents it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from convnext_mm.layers import GRN_EPS
from convnext_mm.ops.dtypes import accumulation_dtype


class GrnStatistics(NamedTuple):
    """The intermediate results of a forward pass that its backward pass needs."""

    norm: Tensor  # (N, 1, C), the L2 norm of each channel over the map
    mean: Tensor  # (N, 1, 1), the mean of the norms over the channels, plus eps
    factor: Tensor  # (N, 1, C), the factor that multiplies each channel


def grn(rows: Tensor, gamma: Tensor, beta: Tensor, pixels: int) -> tuple[Tensor, GrnStatistics]:
    """Return the normalised rows and the statistics for the backward pass.

    Args:
        rows: (N * pixels, C), one sample after the other.
        gamma, beta: The parameters (C,).
        pixels: H * W.
    """
    maps = rows.unflatten(0, (-1, pixels or 1))
    norm = torch.linalg.vector_norm(maps, dim=1, keepdim=True, dtype=accumulation_dtype(maps.dtype))
    mean = norm.mean(dim=-1, keepdim=True) + GRN_EPS
    statistics = GrnStatistics(norm, mean, 1 + gamma * (norm / mean))
    return (maps * statistics.factor + beta).to(maps.dtype).flatten(0, 1), statistics


def grn_backward(
    grad: Tensor, rows: Tensor, statistics: GrnStatistics, gamma: Tensor, pixels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the rows (in their dtype), gamma and beta (accumulation dtype)."""
    norm, mean, factor = statistics
    dtype = accumulation_dtype(rows.dtype)
    maps = rows.unflatten(0, (-1, pixels or 1))
    grad = grad.view_as(maps)
    grad_factor = (grad * maps.to(dtype)).sum(1, keepdim=True, dtype=dtype)
    ratio = norm / mean
    grad_beta = grad.sum((0, 1), dtype=dtype)
    grad_gamma = (grad_factor * ratio).sum((0, 1))
    grad_ratio = grad_factor * gamma
    grad_mean = -(grad_ratio * norm).sum(-1, keepdim=True) / mean**2
    grad_norm = grad_ratio / mean + grad_mean / maps.shape[-1]
    # The norm of a channel that is zero everywhere has no derivative; PyTorch takes 0 as well.
    per_value = torch.where(norm > 0, grad_norm / norm, 0)
    grad_rows = (grad * factor + maps * per_value).to(rows.dtype).flatten(0, 1)
    return grad_rows, grad_gamma, grad_beta
