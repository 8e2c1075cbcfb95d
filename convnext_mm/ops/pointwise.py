"""The block's elementwise steps that read and write large tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_mm.ops import choice


def gelu_backward(
    grad: Tensor, hidden: Tensor, with_active: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """GELU of `hidden` (M, C) once more, if wanted, the gradient of `hidden`, and its column sums.

    The sums (C,) are the gradient of the bias that went into `hidden`, in fp32 at least.
    """
    return choice.run(_gelu_backward, grad.contiguous(), hidden.contiguous(), with_active)


def take(x: Tensor, kept: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The kept samples (all if None) of (N, C, H, W) in a type, channels-last in memory."""
    if kept is not None and _is_channels_last(x):
        return choice.run(_take, x, kept, dtype)
    return _take(x, kept, dtype)


def add_branch(
    x: Tensor, branch: Tensor, kept: Tensor | None, factor: Tensor | None = None
) -> Tensor:
    """`x` plus its branch, which has the kept samples only, all if None, times a factor (C,)."""
    if _is_channels_last(x) and _is_channels_last(branch):
        return choice.run(_add_branch, x, branch, kept, factor)
    return _add_branch(x, branch, kept, factor)


def _gelu_backward(grad, hidden, with_active):
    active = F.gelu(hidden) if with_active else None
    grad_hidden = torch.ops.aten.gelu_backward(grad, hidden)
    wide = torch.promote_types(hidden.dtype, torch.float32)
    return active, grad_hidden, grad_hidden.sum(0, dtype=wide)


def _take(x, kept, dtype):
    part = (x if kept is None else x[kept]).to(dtype)
    return part.contiguous(memory_format=torch.channels_last)


def _add_branch(x, branch, kept, factor):
    if factor is not None:
        branch = branch * factor.view(-1, 1, 1)
    if kept is None and branch.dtype.itemsize < x.dtype.itemsize:
        # On a CPU four times as fast as adding different types.
        return branch.to(x.dtype).add_(x)
    if kept is None:
        return (x + branch).to(x.dtype)
    return x.clone().index_add_(0, kept, branch.to(x.dtype))


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)
