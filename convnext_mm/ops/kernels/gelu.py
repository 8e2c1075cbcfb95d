"""The gradient of the GELU, its column sums and, if wanted, the output again, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 16  # of a tile
STEPS = 8  # tiles of a program, which adds up their column sums


@triton.jit
def _normal(x):
    """Return the distribution function of the standard normal distribution, and its density.

    By Abramowitz and Stegun 7.1.26. The error is 1e-7, and in the lower tail below the error of
    1 + erf(x). Both results share the exponential, which halves the instructions.
    """
    density = tl.exp(-0.5 * x * x)
    t = 1 / (1 + 0.2316418882663604 * tl.abs(x))
    tail = -0.7265760135 + t * 0.5307027145
    tail = t * (0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * tail))) * density
    return tl.where(x > 0, 1 - tail, tail), 0.3989422804014327 * density


@triton.jit(do_not_specialize=['rows'])
def gelu_backward_kernel(
    grad,  # (M, C), gradient of the output
    hidden,  # (M, C), input
    output,  # (M, C)
    grad_hidden,  # (M, C), gradient of the input
    sums,  # (parts, C), column sums of grad_hidden
    rows,
    OUTPUT: tl.constexpr,  # whether to compute the output
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
        if OUTPUT:
            tl.store(output + at, (x * below).to(output.dtype.element_ty), mask=mask)
        tl.store(grad_hidden + at, dx.to(grad_hidden.dtype.element_ty), mask=mask)
    part = tl.program_id(0).to(tl.int64)
    tl.store(sums + part * CHANNELS + c, tl.sum(total, 0), mask=c < CHANNELS)


def gelu_backward(
    grad: Tensor, hidden: Tensor, with_output: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    rows, channels = hidden.shape
    lanes = 128 if channels % 128 == 0 else 32
    parts = triton.cdiv(rows, ROWS * STEPS)
    output = torch.empty_like(hidden) if with_output else None
    grad_hidden = torch.empty_like(hidden)
    sums = hidden.new_empty(parts, channels, dtype=torch.float32)
    gelu_backward_kernel[parts, triton.cdiv(channels, lanes)](
        *(grad, hidden, output, grad_hidden, sums, rows),
        OUTPUT=with_output,
        CHANNELS=channels,
        STEPS=STEPS,
        ROWS=ROWS,
        LANES=lanes,
    )
    return output, grad_hidden, sums.sum(0)
