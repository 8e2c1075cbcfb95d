"""The convolutions of the backbone as an operator that torch.compile does not look into.

Inductor cannot differentiate its own convolutions for images of any size, at least in torch 2.13:
it compiles again for each size (``guard(layout_dx.stride)`` in ``_inductor/kernel/conv.py``), or
fails (pytorch issue 185510). The operator also has the faster depthwise gradients of
:mod:`~convnext_mm.ops.depthwise`.

Importing this module registers ``convnext_mm::conv2d`` and ``convnext_mm::conv2d_backward``.
"""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnext_mm.ops.depthwise import depthwise_conv, depthwise_data_grad, depthwise_param_grads
from convnext_mm.ops.dtypes import autocast_dtype

_LAYOUT = torch.channels_last
# The operators accept every memory format. PyTorch 2.6 cannot be told so, and may add a copy.
_ANY_LAYOUT = (
    dict(tags=(torch.Tag.flexible_layout,))
    if 'tags' in inspect.signature(torch.library.custom_op).parameters
    else {}
)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` that calls the operator of this module in a compiled graph.

    Exported graphs contain PyTorch's convolution, because other programs do not know the operator.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')"""
        is_compiled = torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting()
        if not is_compiled or x.dim() != 4 or not self._is_square():
            return super().forward(x)
        x = x.to(autocast_dtype(x) or x.dtype)
        settings = self.stride[0], self.padding[0], self.groups
        return _conv2d(x, self.weight, self.bias, *settings)

    def _is_square(self) -> bool:
        """Whether the operator has arguments for these settings."""
        return (
            self.bias is not None
            and self.padding_mode == 'zeros'
            and self.dilation == (1, 1)
            and isinstance(self.padding, tuple)
            and self.kernel_size[0] == self.kernel_size[1]
            and self.stride[0] == self.stride[1]
            and self.padding[0] == self.padding[1]
        )


@torch.library.custom_op('convnext_mm::conv2d', mutates_args=(), **_ANY_LAYOUT)
def _conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int
) -> Tensor:
    x = x.contiguous(memory_format=_LAYOUT)
    if _is_depthwise(weight, stride, padding, groups):
        out = depthwise_conv(x, weight, bias)
    else:
        out = F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), stride, padding, groups=groups)
    return out.contiguous(memory_format=_LAYOUT)  # with one sample it may not be


@torch.library.custom_op('convnext_mm::conv2d_backward', mutates_args=(), **_ANY_LAYOUT)
def _conv2d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    groups: int,
    needs_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    grad, x = grad.contiguous(memory_format=_LAYOUT), x.contiguous(memory_format=_LAYOUT)
    if _is_depthwise(weight, stride, padding, groups):
        grad_weight, grad_bias = depthwise_param_grads(grad, x, weight)
        grad_x = depthwise_data_grad(grad, x, weight) if needs_x else None
    else:
        sizes = [weight.shape[0]], [stride, stride], [padding, padding], [1, 1]
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad, x, weight.to(x.dtype), *sizes, False, [0, 0], groups, [needs_x, True, True]
        )
    grad_x = grad_x.contiguous(memory_format=_LAYOUT) if needs_x else x.new_empty(0)
    # The results need the strides of the fake ones, and may not share memory with the arguments.
    grad_weight = grad_weight.to(weight.dtype).contiguous().view(weight.shape)
    return grad_x, grad_weight, grad_bias.to(weight.dtype, copy=True)


def _is_depthwise(weight: Tensor, stride: int, padding: int, groups: int) -> bool:
    is_same = stride == 1 and 2 * padding == weight.shape[-1] - 1
    return is_same and groups == weight.shape[0] and weight.shape[1] == 1


@_conv2d.register_fake
def _(x, weight, bias, stride, padding, groups):
    sides = [(side + 2 * padding - weight.shape[-1]) // stride + 1 for side in x.shape[2:]]
    shape = x.shape[0], weight.shape[0], *sides
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_LAYOUT)


@_conv2d_backward.register_fake
def _(grad, x, weight, stride, padding, groups, needs_x):
    grad_x = torch.empty_like(x, memory_format=_LAYOUT) if needs_x else x.new_empty(0)
    grad_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    return grad_x, grad_weight, weight.new_empty(weight.shape[0])


def _save_for_backward(ctx, inputs, output):
    x, weight, _, *ctx.settings = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx, grad):
    needs_x = ctx.needs_input_grad[0]
    grads = _conv2d_backward(grad, *ctx.saved_tensors, *ctx.settings, needs_x)
    return grads[0] if needs_x else None, *grads[1:], None, None, None


_conv2d.register_autograd(_differentiate, setup_context=_save_for_backward)
