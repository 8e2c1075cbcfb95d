"""LayerNorm over (M, C) rows and its gradients, each in one pass over memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048  # elements of a tile, 16 for each thread
# Programs of the backward pass, 4 for each of 132 SMs. Each walks over rows and keeps its own sums.
PROGRAMS = 528


@triton.jit(do_not_specialize=['rows'])
def layer_norm_kernel(
    x,  # (M, C)
    weight,  # (C,)
    bias,  # (C,)
    out,  # (M, C)
    means,  # (M,)
    rstds,  # (M,)
    rows,
    eps,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, LANES)
    mask = (row < rows)[:, None] & (c < CHANNELS)[None, :]
    at = row.to(tl.int64)[:, None] * CHANNELS + c[None, :]
    value = tl.load(x + at, mask=mask, other=0).to(tl.float32)
    mean = tl.sum(value, 1) / CHANNELS
    value = tl.where(mask, value - mean[:, None], 0)
    rstd = tl.rsqrt(tl.sum(value * value, 1) / CHANNELS + eps)
    tl.store(means + row, mean, mask=row < rows)
    tl.store(rstds + row, rstd, mask=row < rows)
    scale = tl.load(weight + c, mask=c < CHANNELS, other=0).to(tl.float32)
    shift = tl.load(bias + c, mask=c < CHANNELS, other=0).to(tl.float32)
    value = value * rstd[:, None] * scale[None, :] + shift[None, :]
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['rows'])
def layer_norm_backward_kernel(
    grad,  # (M, C)
    x,  # (M, C)
    means,  # (M,)
    rstds,  # (M,)
    weight,  # (C,)
    grad_x,  # (M, C)
    sums,  # (programs, 2, C), gradients of weight and bias
    rows,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    c = tl.arange(0, LANES)
    scale = tl.load(weight + c, mask=c < CHANNELS, other=0).to(tl.float32)
    grad_weight = tl.zeros((ROWS, LANES), tl.float32)
    grad_bias = tl.zeros((ROWS, LANES), tl.float32)
    for start in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & (c < CHANNELS)[None, :]
        at = row.to(tl.int64)[:, None] * CHANNELS + c[None, :]
        mean = tl.load(means + row, mask=row < rows, other=0)
        rstd = tl.load(rstds + row, mask=row < rows, other=0)
        dy = tl.load(grad + at, mask=mask, other=0).to(tl.float32)
        value = tl.load(x + at, mask=mask, other=0).to(tl.float32)
        value = tl.where(mask, (value - mean[:, None]) * rstd[:, None], 0)
        grad_weight += dy * value
        grad_bias += dy
        dy *= scale[None, :]
        along = tl.sum(dy * value, 1) / CHANNELS
        dx = (dy - tl.sum(dy, 1)[:, None] / CHANNELS - value * along[:, None]) * rstd[:, None]
        tl.store(grad_x + at, dx.to(grad_x.dtype.element_ty), mask=mask)
    to = sums + tl.program_id(0) * 2 * CHANNELS + c
    tl.store(to, tl.sum(grad_weight, 0), mask=c < CHANNELS)
    tl.store(to + CHANNELS, tl.sum(grad_bias, 0), mask=c < CHANNELS)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    rows, channels = x.shape
    tile = tile_of(channels)
    out = torch.empty_like(x)
    mean, rstd = x.new_empty(2, rows, 1, dtype=torch.float32)
    layer_norm_kernel[(triton.cdiv(rows, tile['ROWS']),)](
        *(x, weight.contiguous(), bias.contiguous(), out, mean, rstd, rows, eps),
        CHANNELS=channels,
        **tile,
    )
    return out, mean, rstd


def layer_norm_backward(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    rows, channels = x.shape
    tile = tile_of(channels)
    programs = min(PROGRAMS, triton.cdiv(rows, tile['ROWS']))
    grad_x = torch.empty_like(x)
    sums = x.new_empty(programs, 2, channels, dtype=torch.float32)
    layer_norm_backward_kernel[(programs,)](
        *(grad, x, mean, rstd, weight.contiguous(), grad_x, sums, rows),
        CHANNELS=channels,
        **tile,
    )
    return grad_x, *sums.sum(0)


def tile_of(channels: int) -> dict[str, int]:
    """Return the tile of a program for a number of channels, and its warps."""
    lanes = triton.next_power_of_2(channels)
    rows = max(1, TILE // lanes)
    return dict(ROWS=rows, LANES=lanes, num_warps=4 if lanes <= TILE else 8)
