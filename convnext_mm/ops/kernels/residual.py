"""Gather the kept samples and add the residual branch, each in one pass over memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048  # elements of a program


@triton.jit
def _slot(kept, n, count, KEPT: tl.constexpr):
    """Return the position of sample n among the kept samples, or -1."""
    at = tl.arange(0, KEPT)
    sample = tl.load(kept + at, mask=at < count, other=-1)
    return tl.max(tl.where(sample == n, at, -1), 0)


@triton.jit(do_not_specialize=['count', 'channels'])
def add_residual_kernel(
    x,  # (N, H, W, C)
    branch,  # (K, H, W, C)
    kept,  # (K,), indices of samples
    factor,  # (C,)
    out,  # (N, H, W, C)
    size,  # H * W * C
    count,  # K
    channels,
    KEPT: tl.constexpr,  # a power of two >= K, or 0 if all samples are kept
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
def gather_samples_kernel(
    x,  # (N, H, W, C)
    kept,  # (K,), indices of samples
    out,  # (K, H, W, C)
    size,  # H * W * C
    BLOCK: tl.constexpr,
):
    slot = tl.program_id(1).to(tl.int64)
    n = tl.load(kept + slot)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + n * size + at, mask=at < size, other=0).to(out.dtype.element_ty)
    tl.store(out + slot * size + at, value, mask=at < size)


def add_residual(x: Tensor, branch: Tensor, kept: Tensor | None, factor: Tensor | None) -> Tensor:
    n, channels = x.shape[:2]
    size = x[0].numel()
    out = torch.empty_like(x, memory_format=torch.channels_last)
    add_residual_kernel[triton.cdiv(size, BLOCK), n](
        *(x, branch, kept, factor, out, size, len(branch), channels),
        KEPT=0 if kept is None else triton.next_power_of_2(len(kept)),
        FACTOR=factor is not None,
        BLOCK=BLOCK,
    )
    return out


def gather_samples(x: Tensor, kept: Tensor, dtype: torch.dtype) -> Tensor:
    out = torch.empty_like(x[: len(kept)], dtype=dtype, memory_format=torch.channels_last)
    size = x[0].numel()
    gather_samples_kernel[triton.cdiv(size, BLOCK), len(kept)](x, kept, out, size, BLOCK=BLOCK)
    return out
