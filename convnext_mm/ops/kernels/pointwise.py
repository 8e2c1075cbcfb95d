"""GELU's gradient, and the two ends of the branch, each in one pass over the memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 16
STEPS = 8  # tiles of so many rows under each other, which share their sums
BLOCK = 2048


@triton.jit
def _normal(x):
    """The normal distribution up to `x`, and its density there.

    Abramowitz and Stegun 7.1.26: an error of 1e-7, in the lower tail less than 1 + erf has, and
    half the instructions, since both share the exponential.
    """
    density = tl.exp(-0.5 * x * x)
    t = 1 / (1 + 0.2316418882663604 * tl.abs(x))
    tail = -0.7265760135 + t * 0.5307027145
    tail = t * (0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * tail))) * density
    return tl.where(x > 0, 1 - tail, tail), 0.3989422804014327 * density


@triton.jit(do_not_specialize=['rows'])
def gelu_backward_kernel(
    grad,  # (M, C), of the GELU's output
    hidden,  # (M, C), its input
    active,  # (M, C), its output once more
    out,  # (M, C), gradient of its input
    sums,  # (parts, C), of that
    rows,
    ACTIVE: tl.constexpr,  # whether it is wanted
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    c = tl.program_id(1) * LANES + tl.arange(0, LANES)
    total = tl.zeros((ROWS, LANES), tl.float32)
    for step in range(STEPS):
        row = (tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & (c < CHANNELS)[None, :]
        at = row.to(tl.int64)[:, None] * CHANNELS + c[None, :]
        x = tl.load(hidden + at, mask=mask, other=0).to(tl.float32)
        dy = tl.load(grad + at, mask=mask, other=0).to(tl.float32)
        below, density = _normal(x)
        dx = dy * (below + x * density)
        total += dx
        if ACTIVE:
            tl.store(active + at, (x * below).to(active.dtype.element_ty), mask=mask)
        tl.store(out + at, dx.to(out.dtype.element_ty), mask=mask)
    part = tl.program_id(0).to(tl.int64)
    tl.store(sums + part * CHANNELS + c, tl.sum(total, 0), mask=c < CHANNELS)


@triton.jit
def _slot(kept, n, count, KEPT: tl.constexpr):
    """Where sample n is among the kept ones, or -1."""
    at = tl.arange(0, KEPT)
    sample = tl.load(kept + at, mask=at < count, other=-1)
    return tl.max(tl.where(sample == n, at, -1), 0)


@triton.jit(do_not_specialize=['count', 'channels'])
def add_branch_kernel(
    x,  # (N, H, W, C)
    branch,  # (kept, H, W, C)
    kept,  # indices of samples
    factor,  # (C,)
    out,  # (N, H, W, C)
    size,  # H * W * C
    count,
    channels,
    KEPT: tl.constexpr,  # at least count; 0: all samples are kept
    FACTOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(1).to(tl.int64)
    slot = n
    if KEPT:
        slot = _slot(kept, n, count, KEPT).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + n * size + at, mask=at < size, other=0).to(tl.float32)
    mask = (at < size) & (slot >= 0)
    added = tl.load(branch + slot * size + at, mask=mask, other=0).to(tl.float32)
    if FACTOR:
        added *= tl.load(factor + at % channels, mask=mask, other=0).to(tl.float32)
    value = (value + added).to(out.dtype.element_ty)
    tl.store(out + n * size + at, value, mask=at < size)


@triton.jit
def take_kernel(x, kept, out, size, BLOCK: tl.constexpr):
    slot = tl.program_id(1).to(tl.int64)
    n = tl.load(kept + slot)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + n * size + at, mask=at < size, other=0).to(out.dtype.element_ty)
    tl.store(out + slot * size + at, value, mask=at < size)


def gelu_backward(
    grad: Tensor, hidden: Tensor, with_active: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    rows, channels = hidden.shape
    lanes = 128 if channels % 128 == 0 else 32
    parts = triton.cdiv(rows, ROWS * STEPS)
    active = torch.empty_like(hidden) if with_active else None
    out = torch.empty_like(hidden)
    sums = hidden.new_empty(parts, channels, dtype=torch.float32)
    gelu_backward_kernel[parts, triton.cdiv(channels, lanes)](
        *(grad, hidden, active, out, sums, rows),
        ACTIVE=with_active,
        CHANNELS=channels,
        STEPS=STEPS,
        ROWS=ROWS,
        LANES=lanes,
    )
    return active, out, sums.sum(0)


def add_branch(x: Tensor, branch: Tensor, kept: Tensor | None, factor: Tensor | None) -> Tensor:
    n, channels = x.shape[:2]
    size = x[0].numel()
    out = torch.empty_like(x, memory_format=torch.channels_last)
    add_branch_kernel[triton.cdiv(size, BLOCK), n](
        *(x, branch, kept, factor, out, size, len(branch), channels),
        KEPT=0 if kept is None else triton.next_power_of_2(len(kept)),
        FACTOR=factor is not None,
        BLOCK=BLOCK,
    )
    return out


def take(x: Tensor, kept: Tensor, dtype: torch.dtype) -> Tensor:
    out = torch.empty_like(x[: len(kept)], dtype=dtype, memory_format=torch.channels_last)
    size = x[0].numel()
    take_kernel[triton.cdiv(size, BLOCK), len(kept)](x, kept, out, size, BLOCK=BLOCK)
    return out
