"""A depthwise convolution with stride 1 that keeps the size of the map, and its gradients.

The results have the dtype of the map; sums over the map accumulate in fp32 or wider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_mm.ops import kernel_choice
from convnext_mm.ops.dtypes import accumulation_dtype

# oneDNN computes the weight gradient of a depthwise convolution quickly for kernels up to 3 wide.
# Three narrow kernels give the same sums as one of 7x7, 2 to 40 times faster.
_CPU_WIDTHS = (3, 3, 1)


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C, H, W) with a (C, 1, k, k) kernel -> (N, C, H, W)."""
    return _run('depthwise_conv', _conv, (x,), weight, bias)


def depthwise_data_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the map: (N, C, H, W) -> (N, C, H, W)."""
    return _run('depthwise_data_grad', _data_grad, (grad, x), weight)


def depthwise_param_grads(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the kernel (C, 1, k, k) and the bias (C,)."""
    return _run('depthwise_param_grads', _param_grads, (grad, x), weight)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


def _data_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    # A convolution with the kernel rotated by 180 degrees. On a CPU it is faster than oneDNN's
    # own data gradient.
    if grad.device.type == 'cpu':
        return _conv(grad, weight.flip(-2, -1), None)
    pad = weight.shape[-1] // 2
    return _conv_grad(grad, x, weight.to(grad.dtype), pad, (True, False, False))[0]


def _param_grads(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    grad_bias = grad.sum((0, 2, 3), dtype=accumulation_dtype(grad.dtype))
    return depthwise_weight_grad(grad, x, weight.to(x.dtype)), grad_bias


def depthwise_weight_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the kernel: two (N, C, H, W) maps -> (C, 1, k, k)."""
    size = weight.shape[-1]
    if grad.device.type != 'cpu' or size != sum(_CPU_WIDTHS):
        return _conv_grad(grad, x, weight, size // 2, (False, True, False))[1]
    pad = size // 2
    padded = F.pad(x, (pad, pad))
    columns, start = [], 0
    for width in _CPU_WIDTHS:
        # The columns of the map that these columns of the kernel multiply.
        part = padded[..., start : start + x.shape[-1] + width - 1]
        part = part.contiguous(memory_format=torch.channels_last)
        kernel = weight[..., start : start + width]
        columns.append(_conv_grad(grad, part, kernel, (pad, 0), (False, True, False))[1])
        start += width
    return torch.cat(columns, dim=-1)


def _conv_grad(grad, x, weight, padding, mask):
    padding = [padding, padding] if isinstance(padding, int) else list(padding)
    sizes = [1, 1], padding, [1, 1], False, [0, 0], weight.shape[0], list(mask)
    try:
        return torch.ops.aten.convolution_backward(grad, x, weight, None, *sizes)
    except RuntimeError as error:
        # cuDNN has no engine for some sizes. Without it PyTorch uses its own kernel.
        if 'unable to find an engine' not in str(error):
            raise
    with torch.backends.cudnn.flags(enabled=False):
        return torch.ops.aten.convolution_backward(grad, x, weight, None, *sizes)


def _run(
    operation: str, in_pytorch: Callable, maps: tuple[Tensor, ...], weight: Tensor, *others: Any
) -> Any:
    # The kernels are written for 7x7 and channels-last maps.
    if weight.shape[-1] == 7 and all(
        m.is_contiguous(memory_format=torch.channels_last) for m in maps
    ):
        return kernel_choice.run(operation, in_pytorch, *maps, weight, *others)
    return in_pytorch(*maps, weight, *others)
