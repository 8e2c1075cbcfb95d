"""Merge factors into the linear layers and split the gradients, in one launch each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # elements at a time


@triton.jit(do_not_specialize=['scale'])
def merge_params_kernel(
    weight1,  # (4C, C)
    bias1,  # (4C,)
    weight2,  # (C, 4C)
    bias2,  # (C,)
    gamma,  # (C,)
    out_weight1,
    out_bias1,
    out_weight2,
    out_bias2,
    scale,
    channels,
    columns,  # 4C
    GAMMA: tl.constexpr,
    CAST_FIRST: tl.constexpr,  # whether the first layer needs a cast
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < channels * columns
    factor = tl.zeros((BLOCK,), tl.float32) + scale
    bias_factor = factor
    if GAMMA:
        factor *= tl.load(gamma + at // columns, mask=inside, other=0).to(tl.float32)
        bias_factor *= tl.load(gamma + at, mask=at < channels, other=0).to(tl.float32)
    value = tl.load(weight2 + at, mask=inside, other=0).to(tl.float32) * factor
    tl.store(out_weight2 + at, value.to(out_weight2.dtype.element_ty), mask=inside)
    value = tl.load(bias2 + at, mask=at < channels, other=0).to(tl.float32) * bias_factor
    tl.store(out_bias2 + at, value.to(out_bias2.dtype.element_ty), mask=at < channels)
    if CAST_FIRST:
        value = tl.load(weight1 + at, mask=inside, other=0)
        tl.store(out_weight1 + at, value.to(out_weight1.dtype.element_ty), mask=inside)
        value = tl.load(bias1 + at, mask=at < columns, other=0)
        tl.store(out_bias1 + at, value.to(out_bias1.dtype.element_ty), mask=at < columns)


@triton.jit(do_not_specialize=['scale'])
def split_param_grads_kernel(
    grad_weight,  # (C, 4C), gradient of the merged weight
    grad_bias,  # (C,), gradient of the merged bias
    weight,  # (C, 4C)
    bias,  # (C,)
    gamma,  # (C,)
    out_weight,
    out_bias,
    out_gamma,
    scale,
    columns,  # 4C
    GAMMA: tl.constexpr,
    BLOCK: tl.constexpr,
):
    c = tl.program_id(0)
    factor = scale
    if GAMMA:
        factor *= tl.load(gamma + c).to(tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        at = c * columns + column
        grad = tl.load(grad_weight + at, mask=column < columns, other=0).to(tl.float32)
        tl.store(out_weight + at, grad * factor, mask=column < columns)
        if GAMMA:
            total += grad * tl.load(weight + at, mask=column < columns, other=0).to(tl.float32)
    grad = tl.load(grad_bias + c).to(tl.float32)
    tl.store(out_bias + c, grad * factor)
    if GAMMA:
        bias_part = grad * tl.load(bias + c).to(tl.float32)
        tl.store(out_gamma + c, (tl.sum(total, 0) + bias_part) * scale)


def merge_params(
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    gamma: Tensor | None,
    scale: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    columns, channels = weight1.shape
    layers = [p.contiguous() for p in (weight1, bias1, weight2, bias2)]
    cast_first = not weight1.dtype == bias1.dtype == dtype
    first = [torch.empty_like(p, dtype=dtype) if cast_first else p for p in layers[:2]]
    second = [torch.empty_like(p, dtype=dtype) for p in layers[2:]]
    gamma = None if gamma is None else gamma.contiguous()
    merge_params_kernel[(triton.cdiv(channels * columns, BLOCK),)](
        *(*layers, gamma, *first, *second, scale, channels, columns),
        GAMMA=gamma is not None,
        CAST_FIRST=cast_first,
        BLOCK=BLOCK,
    )
    return *first, *second


def split_param_grads(
    grad_weight: Tensor,
    grad_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    channels, columns = weight.shape
    grads = grad_weight.contiguous(), grad_bias.contiguous()
    outs = [torch.empty_like(grad) for grad in grads]
    grad_gamma = None if gamma is None else torch.empty_like(grads[1])
    params = (None if p is None else p.contiguous() for p in (weight, bias, gamma))
    split_param_grads_kernel[(channels,)](
        *(*grads, *params, *outs, grad_gamma, scale, columns),
        GAMMA=gamma is not None,
        BLOCK=BLOCK,
    )
    return *outs, grad_gamma
