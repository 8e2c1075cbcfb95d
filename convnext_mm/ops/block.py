"""The ConvNeXt block as one autograd function that recomputes activations in its backward pass.

:func:`convnext_block` computes the same as the layers of :class:`convnext_mm.ConvNeXtBlock`::

    x (N, C, H, W) --+-- dwconv -- LayerNorm -- linear -- GELU -- (GRN) -- linear -- gamma --+-- out
                     +-----------------------------------------------------------------------+

A plain block keeps the input of every operation for the backward pass. This function keeps one or
two tensors and computes the others again. `recompute` says which:

==================  =====  ====  =======================================  ======================
``recompute``       mixed  fp32  kept in the forward pass                 computed again
==================  =====  ====  =======================================  ======================
``'none'``, V1      26     48    the input of every operation             nothing
``'none'``, V2      40     60    the input of every operation             nothing
``'pointwise'``     10     20    the inputs of the convolution and GELU   all but the linear layers
the same on a GPU   12     24    and the input of LayerNorm               the cheap operations
``'block'``         2      4     the input of the convolution             the whole branch
==================  =====  ====  =======================================  ======================

The numbers are bytes for each element of the (N, C, H, W) map, under autocast (mixed) and in fp32.
``'none'`` stands for the plain block, which does not call this function; under autocast on a CPU it
keeps 2 bytes less, because LayerNorm is in bf16 there.

On a CPU, ``'pointwise'`` keeps as little as ``'block'`` up to ``MAX_RECOMPUTED_CHANNELS`` channels:
computing the GELU input again takes about as long as writing and reading it, and blocks with few
channels have the largest maps. A GPU does not compute in slices that stay in cache. Both inputs are
in its memory anyway, so it keeps them.

Forward pass:

1. Stochastic depth draws the samples that skip the branch. The others are gathered into a smaller
   batch, so that dropped samples cost no time (:mod:`~convnext_mm.ops.residual`).
2. gamma, the stochastic depth factor and the cast to the autocast dtype are merged into the
   parameters of the linear layers (:mod:`~convnext_mm.ops.merge`). In fp16 gamma is not merged,
   because the product of a small gamma and a weight would underflow.
3. The depthwise convolution runs (:mod:`~convnext_mm.ops.depthwise`). Its channels-last output is
   read as rows (N * H * W, C).
4. LayerNorm and the MLP process the rows, on a CPU in slices that stay in cache
   (:mod:`~convnext_mm.ops.norm_mlp`). Each slice is added to the residual stream at once.

The backward pass computes the convolution, LayerNorm and (if it was not kept) the GELU input again,
then applies the formulas of each step in reverse order. No step uses autograd.

Under autocast the residual stream stays in fp32, and all of the branch is in the autocast dtype.
Sums over the map accumulate in fp32 or wider. The function has first derivatives only, and no rules
for ``torch.func``; :mod:`~convnext_mm.ops.eligibility` says when a block may use it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from convnext_mm.ops.depthwise import depthwise_conv, depthwise_data_grad, depthwise_param_grads
from convnext_mm.ops.dtypes import accumulation_dtype, autocast_dtype
from convnext_mm.ops.merge import merge_params, split_param_grads
from convnext_mm.ops.norm_mlp import NormMlpParams, norm_mlp, norm_mlp_backward
from convnext_mm.ops.residual import add_residual, add_residual_slices, gather_samples

RECOMPUTE_LEVELS = ('none', 'pointwise', 'block')
# With more channels, 'pointwise' keeps the GELU input instead of computing it again.
MAX_RECOMPUTED_CHANNELS = 128


class BlockParams(NamedTuple):
    """The parameters of a block with C channels, in the order of their use."""

    dwconv_weight: Tensor  # (C, 1, 7, 7)
    dwconv_bias: Tensor  # (C,)
    norm_weight: Tensor  # (C,)
    norm_bias: Tensor  # (C,)
    pwconv1_weight: Tensor  # (4C, C)
    pwconv1_bias: Tensor  # (4C,)
    grn_gamma: Tensor | None  # (1, 1, 1, 4C), None in V1
    grn_beta: Tensor | None  # (1, 1, 1, 4C), None in V1
    pwconv2_weight: Tensor  # (C, 4C)
    pwconv2_bias: Tensor  # (C,)
    gamma: Tensor | None  # (C,), layer scale; None in V2 and where it is off


def convnext_block(
    x: Tensor, params: BlockParams, norm_eps: float, drop_path_rate: float, recompute: str
) -> Tensor:
    """Compute a block with its residual connection: (N, C, H, W) -> (N, C, H, W), channels-last.

    Args:
        x: The map, in any memory format. A channels-last map is not copied.
        params: The parameters of the block.
        norm_eps: The epsilon of LayerNorm.
        drop_path_rate: The probability that a sample skips the branch. The branch of the other
            samples is multiplied by 1 / (1 - rate). The CPU generator draws, for every device.
        recompute: ``'pointwise'`` or ``'block'``, see the table of this module.
    """
    if not torch.is_grad_enabled():
        recompute = 'block'  # `needs_input_grad` does not depend on the grad mode
    kept, scale = None, 1.0
    if drop_path_rate:
        scale = 1 / (1 - drop_path_rate)
        # On the host, because the number of kept samples decides the shapes.
        draws = torch.rand(x.shape[0], device='cpu') >= drop_path_rate
        if not draws.all():
            kept = draws.nonzero().flatten()
            if x.is_cuda:  # from pinned memory, so that the host does not wait for the GPU
                kept = kept.pin_memory()
            kept = kept.to(x.device, non_blocking=x.is_cuda)
    if dtype := autocast_dtype(x):
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(accumulation_dtype(x.dtype))
            return _Block.apply(x, kept, scale, norm_eps, dtype, recompute, *params)
    return _Block.apply(x, kept, scale, norm_eps, x.dtype, recompute, *params)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kept, scale, norm_eps, dtype, recompute, *params):
        ctx.kept, ctx.scale, ctx.norm_eps, ctx.dtype = kept, scale, norm_eps, dtype
        params = BlockParams(*params)
        if kept is not None and not len(kept):
            ctx.save_for_backward(*params)
            return x.clone()
        inner = gather_samples(x, kept, dtype)
        channels, height, width = inner.shape[1:]
        keeps = recompute == 'pointwise' and any(ctx.needs_input_grad)
        keeps_rows = keeps and not _computes_in_slices(x)
        keeps_hidden = keeps and (keeps_rows or channels > MAX_RECOMPUTED_CHANNELS)
        hidden_slices = [] if keeps_hidden else None
        rows = _rows(_conv(inner, params))
        mlp_params = _norm_mlp_params(params, norm_eps, scale, dtype)
        branch = norm_mlp(rows, mlp_params, height * width, hidden_slices)
        factor = None if _merges_gamma(params, dtype) else params.gamma * scale
        out = add_residual_slices(x, branch, kept, factor)
        kept_rows = rows if keeps_rows else None
        ctx.save_for_backward(*params, inner, kept_rows, *(hidden_slices or ()))
        return out

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled() and not grad.requires_grad:
            # `once_differentiable` raises on a second derivative only if `grad` requires one.
            # A constant `grad` would give zeros instead of an error.
            grad = grad.detach().requires_grad_()
        return _Block._first_derivatives(ctx, grad)

    @staticmethod
    @once_differentiable
    def _first_derivatives(ctx, grad):
        # Keep the dtypes of the forward pass if backward() is called under autocast.
        if grad.device.type == 'meta':
            return _Block._backward(ctx, grad)
        with torch.autocast(grad.device.type, enabled=False):
            return _Block._backward(ctx, grad)

    @staticmethod
    def _backward(ctx, grad):
        needs_grad = BlockParams(*ctx.needs_input_grad[6:])
        tensors = ctx.saved_tensors  # read once: each access calls the unpack hooks
        params = BlockParams(*tensors[: len(needs_grad)])
        saved = tensors[len(needs_grad) :]
        if not saved:
            # Every sample skipped the branch. With None instead of zeros the optimizer would skip
            # weight decay, and DDP would wait for the gradients.
            zeros = (
                torch.zeros_like(p) if needed else None for p, needed in zip(params, needs_grad)
            )
            return grad, None, None, None, None, None, *zeros
        # If gamma is not merged, it still multiplies the gradient: do not cast before that.
        branch_dtype = ctx.dtype if _merges_gamma(params, ctx.dtype) else grad.dtype
        grad_branch = gather_samples(grad, ctx.kept, branch_dtype)
        inner, rows, *hidden_slices = saved
        if rows is None:
            rows = _rows(_conv(inner, params))
        grad_inner, grads = _branch_backward(
            grad_branch, inner, rows, hidden_slices, params, needs_grad, ctx
        )
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = add_residual(grad, grad_inner, ctx.kept)
        return grad_x, None, None, None, None, None, *grads


def _computes_in_slices(x: Tensor) -> bool:
    return x.device.type == 'cpu'


def _conv(x: Tensor, p: BlockParams) -> Tensor:
    return depthwise_conv(x, p.dwconv_weight, p.dwconv_bias)


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C)"""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _branch_backward(grad, inner, rows, hidden_slices, p, needs_grad, ctx):
    """Return the gradient of the branch input and the gradients of the parameters."""
    dtype = ctx.dtype
    n, channels, height, width = inner.shape
    grad = _rows(grad)
    mlp_params = _norm_mlp_params(p, ctx.norm_eps, ctx.scale, dtype)
    pixels = height * width
    if _merges_gamma(p, dtype):
        m = norm_mlp_backward(grad, rows, hidden_slices, mlp_params, pixels)
        weight2, bias2, gamma = split_param_grads(
            m.weight2, m.bias2, p.pwconv2_weight, p.pwconv2_bias, p.gamma, ctx.scale
        )
        m = m._replace(weight2=weight2, bias2=bias2, gamma=gamma)
    else:
        grad_out = (grad * (p.gamma * ctx.scale)).to(dtype)
        m = norm_mlp_backward(grad_out, rows, hidden_slices, mlp_params, pixels, grad)
        m = m._replace(gamma=m.gamma * ctx.scale)

    grad_conv = m.rows.view(n, height, width, channels).permute(0, 3, 1, 2)
    grad_inner = grad_dwconv_weight = grad_dwconv_bias = None
    if ctx.needs_input_grad[0]:
        grad_inner = depthwise_data_grad(grad_conv, inner, p.dwconv_weight)
    if needs_grad.dwconv_weight or needs_grad.dwconv_bias:
        grad_dwconv_weight, grad_dwconv_bias = depthwise_param_grads(
            grad_conv, inner, p.dwconv_weight
        )
    grads = BlockParams(
        dwconv_weight=grad_dwconv_weight,
        dwconv_bias=grad_dwconv_bias,
        norm_weight=m.norm_weight,
        norm_bias=m.norm_bias,
        pwconv1_weight=m.weight1,
        pwconv1_bias=m.bias1,
        grn_gamma=m.grn_gamma,
        grn_beta=m.grn_beta,
        pwconv2_weight=m.weight2,
        pwconv2_bias=m.bias2,
        gamma=m.gamma,
    )
    return grad_inner, [
        _as_grad_of(parameter, grad) if needed else None
        for parameter, grad, needed in zip(p, grads, needs_grad)
    ]


def _as_grad_of(parameter: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient with the dtype, shape and strides of its parameter."""
    if grad.dtype != parameter.dtype:
        grad = grad.to(parameter.dtype)
    # DDP compares strides with its buckets, also in dimensions of size one.
    same = grad.shape == parameter.shape and grad.stride() == parameter.stride()
    if same:
        return grad
    return grad.new_empty_strided(parameter.shape, parameter.stride()).copy_(
        grad.view(parameter.shape)
    )


def _merges_gamma(p: BlockParams, dtype: torch.dtype) -> bool:
    """Whether gamma is merged into the second linear layer. In fp16 the product could underflow."""
    return p.gamma is None or dtype != torch.float16


def _norm_mlp_params(
    p: BlockParams, norm_eps: float, scale: float, dtype: torch.dtype
) -> NormMlpParams:
    gamma, scale = (p.gamma, scale) if _merges_gamma(p, dtype) else (None, 1.0)
    weight1, bias1, weight2, bias2 = merge_params(
        *(p.pwconv1_weight, p.pwconv1_bias, p.pwconv2_weight, p.pwconv2_bias), gamma, scale, dtype
    )
    return NormMlpParams(
        p.norm_weight,
        p.norm_bias,
        norm_eps,
        weight1,
        bias1,
        None if p.grn_gamma is None else p.grn_gamma.view(-1),
        None if p.grn_beta is None else p.grn_beta.view(-1),
        weight2,
        bias2,
    )
