"""The gradient of the GELU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_mm.ops import kernel_choice
from convnext_mm.ops.dtypes import accumulation_dtype


def gelu_backward(
    grad: Tensor, hidden: Tensor, with_output: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Return the output (or None), the gradient of the input, and the column sums of that gradient.

    Args:
        grad: Gradient of the output, (M, C).
        hidden: The input, (M, C).
        with_output: Whether to compute the output, GELU(hidden), again.

    The column sums (C,) are the gradient of the bias of the linear layer before the GELU. They are
    in their accumulation dtype.
    """
    args = grad.contiguous(), hidden.contiguous(), with_output
    return kernel_choice.run('gelu_backward', _gelu_backward, *args)


def _gelu_backward(grad, hidden, with_output):
    output = F.gelu(hidden) if with_output else None
    grad_hidden = torch.ops.aten.gelu_backward(grad, hidden)
    return output, grad_hidden, grad_hidden.sum(0, dtype=accumulation_dtype(hidden.dtype))
