"""A depthwise convolution of stride 1 that keeps the map's size, and its gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_mm.ops import choice
from convnext_mm.ops.pointwise import wide

# oneDNN's weight gradient of a depthwise convolution has a fast path for kernels up to 3 wide; the
# 7x7 one is 2 to 40 times slower than three of these, which give the same sums.
_CPU_WIDTHS = (3, 3, 1)


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C, H, W) with a (C, 1, 7, 7) kernel -> (N, C, H, W).

    Here and below the result has the map's type, whatever the kernel's and the bias's.
    """
    return _choose(_conv, (x,), weight, bias)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


def depthwise_data_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient with respect to the map: (N, C, H, W) -> (N, C, H, W)."""
    return _choose(_data_grad, (grad, x), weight)


def _data_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    # The convolution with the kernel turned by 180 degrees, which is faster on a CPU than
    # oneDNN's own data gradient.
    if grad.device.type == 'cpu':
        return _conv(grad, weight.flip(-2, -1), None)
    pad = weight.shape[-1] // 2
    return _conv_grad(grad, x, weight.to(grad.dtype), pad, (True, False, False))[0]


def depthwise_param_grads(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients with respect to the kernel and the bias; the latter is summed in fp32 at least."""
    return _choose(_param_grads, (grad, x), weight)


def _param_grads(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    grad_bias = grad.sum((0, 2, 3), dtype=wide(grad.dtype))
    return depthwise_weight_grad(grad, x, weight.to(x.dtype)), grad_bias


def depthwise_weight_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient with respect to the kernel: two (N, C, H, W) maps -> (C, 1, 7, 7)."""
    size = weight.shape[-1]
    if grad.device.type != 'cpu' or size != sum(_CPU_WIDTHS):
        return _conv_grad(grad, x, weight, size // 2, (False, True, False))[1]
    pad = size // 2
    padded = F.pad(x, (pad, pad))
    columns, start = [], 0
    for width in _CPU_WIDTHS:
        # The columns of the map that these columns of the kernel ever touch.
        part = padded[..., start : start + x.shape[-1] + width - 1]
        part = part.contiguous(memory_format=torch.channels_last)
        kernel = weight[..., start : start + width]
        columns.append(_conv_grad(grad, part, kernel, (pad, 0), (False, True, False))[1])
        start += width
    return torch.cat(columns, dim=-1)


def _conv_grad(grad, x, weight, padding, mask):
    padding = [padding, padding] if isinstance(padding, int) else list(padding)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], weight.shape[0], list(mask)
    )


def _choose(plain, maps, weight, *others):
    """PyTorch's function, or a kernel for maps that are channels-last."""
    layout = torch.channels_last
    if weight.shape[-1] == 7 and all(m.is_contiguous(memory_format=layout) for m in maps):
        return choice.run(plain, *maps, weight, *others)
    return plain(*maps, weight, *others)
