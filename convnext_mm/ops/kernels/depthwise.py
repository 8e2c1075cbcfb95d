"""The 7x7 depthwise convolution and its gradients on channels-last maps.

The convolution is limited by arithmetic: 49 multiply-adds for each element take longer than reading
and writing it. In the first stage of a training step (2x96x200x336) the 632 M multiply-adds take
21 us on an H200, and its 52 MB in bf16 take 12 us. So the kernel keeps all other instructions few:

- A program is one warp. Each thread has one channel, and the warp walks down a strip of columns.
- The 49 weights stay in registers.
- Each line of the strip, with its halo, is loaded once and added to the seven output rows that it
  touches. A strip of 8 columns needs 14 loads for 392 multiply-adds.
- The next line is loaded while the current one is computed.

The weight gradient keeps its 49 sums in registers, and the seven rows of `grad` that a line meets.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

SIZE = tl.constexpr(7)
PAD = tl.constexpr(3)
LANES = 32
SMS = 132  # of an H100 or H200
# Columns of a strip. A wide strip loads less in total, and needs more registers.
STRIP, GRAD_STRIP = 8, 6
# Warps that fit on an SM with the registers they need; tests/ops/test_kernels.py compiles both.
WARPS, GRAD_WARPS = 8, 8


@triton.jit
def _line(image, y, left, c, height, width, channels, COUNT: tl.constexpr):
    """Load pixels `left` ... `left + COUNT - 1` of row y as vectors over channels; 0 outside."""
    inside = (y >= 0) & (y < height)
    start = y * (width * channels).to(tl.int64)  # the map of a large image exceeds 2^31 elements
    line = ()
    for k in tl.static_range(COUNT):
        column = left + k
        mask = (c < channels) & (inside & (column >= 0) & (column < width))
        at = image + start + column * channels + c
        line += (tl.load(at, mask=mask, other=0),)
    return line


@triton.jit
def _to_fp32(line):
    values = ()
    for k in tl.static_range(len(line)):
        values += (line[k].to(tl.float32),)
    return values


@triton.jit(do_not_specialize=['height', 'width', 'channels', 'rows'])
def conv_kernel(
    x,  # (N, H, W, C)
    weight,  # (49, C)
    bias,  # (C,)
    out,  # (N, H, W, C)
    height,
    width,
    channels,
    rows,  # output rows of a program
    ROTATED: tl.constexpr,  # whether to rotate the kernel by 180 degrees
    BIAS: tl.constexpr,
    STRIP: tl.constexpr,
    LANES: tl.constexpr,
):
    strips = tl.cdiv(width, STRIP)
    left = tl.program_id(0) % strips * STRIP
    top = tl.program_id(0) // strips * rows
    bottom = tl.minimum(top + rows, height)
    c = tl.program_id(1) * LANES + tl.arange(0, LANES)
    image = tl.program_id(2).to(tl.int64) * height * width * channels

    taps = ()
    for k in tl.static_range(SIZE * SIZE):
        tap = SIZE * SIZE - 1 - k if ROTATED else k
        taps += (tl.load(weight + tap * channels + c, mask=c < channels, other=0).to(tl.float32),)
    start = tl.zeros((LANES,), tl.float32)
    if BIAS:
        start = tl.load(bias + c, mask=c < channels, other=0).to(tl.float32)
    # The output rows that need 6, ..., 1 more lines.
    partial = ()
    for _ in tl.static_range((SIZE - 1) * STRIP):
        partial += (start,)
    x += image
    next_line = _line(x, top - PAD, left - PAD, c, height, width, channels, STRIP + SIZE - 1)
    for y in range(top - PAD, bottom + PAD):
        line = _to_fp32(next_line)
        next_line = _line(x, y + 1, left - PAD, c, height, width, channels, STRIP + SIZE - 1)
        sums = ()
        for i in tl.static_range(SIZE):
            for k in tl.static_range(STRIP):
                total = start
                if i > 0:
                    total = partial[(i - 1) * STRIP + k]
                for j in tl.static_range(SIZE):
                    total += taps[i * SIZE + j] * line[k + j]
                sums += (total,)
        row = out + image + (y - PAD) * (width * channels).to(tl.int64)
        for k in tl.static_range(STRIP):
            mask = (c < channels) & ((y >= top + PAD) & (left + k < width))
            done = sums[(SIZE - 1) * STRIP + k].to(out.dtype.element_ty)
            tl.store(row + (left + k) * channels + c, done, mask=mask)
        partial = sums[: (SIZE - 1) * STRIP]


@triton.jit(do_not_specialize=['batch', 'height', 'width', 'channels', 'rows', 'groups'])
def param_grads_kernel(
    grad,  # (N, H, W, C)
    x,  # (N, H, W, C)
    sums,  # (parts, 50, C): one sum for each tap, and the sum of grad
    batch,
    height,
    width,
    channels,
    rows,  # rows of grad for a program
    groups,  # a program takes every groups-th image
    STRIP: tl.constexpr,
    LANES: tl.constexpr,
):
    strips = tl.cdiv(width, STRIP)
    left = tl.program_id(0) % strips * STRIP
    top = tl.program_id(0) // strips * rows
    bottom = tl.minimum(top + rows, height)
    c = tl.program_id(1) * LANES + tl.arange(0, LANES)

    zero = tl.zeros((LANES,), tl.float32)
    totals = ()
    for _ in tl.static_range(SIZE * SIZE + 1):
        totals += (zero,)
    for n in range(tl.program_id(2), batch, groups):
        image = n * height.to(tl.int64) * width * channels
        g, m = grad + image, x + image
        # The rows of grad from 3 above a line to 2 below it. Each line adds the next row.
        window = ()
        for _ in tl.static_range((SIZE - 1) * STRIP):
            window += (zero,)
        next_new = _line(g, top, left, c, bottom, width, channels, STRIP)
        next_line = _line(m, top - PAD, left - PAD, c, height, width, channels, STRIP + SIZE - 1)
        for y in range(top - PAD, bottom + PAD):
            new, line = _to_fp32(next_new), _to_fp32(next_line)
            next_new = _line(g, y + PAD + 1, left, c, bottom, width, channels, STRIP)
            next_line = _line(m, y + 1, left - PAD, c, height, width, channels, STRIP + SIZE - 1)
            window += new
            added = ()
            for i in tl.static_range(SIZE):
                for j in tl.static_range(SIZE):
                    total = totals[i * SIZE + j]
                    for k in tl.static_range(STRIP):
                        total += window[(SIZE - 1 - i) * STRIP + k] * line[k + j]
                    added += (total,)
            total = totals[SIZE * SIZE]
            for k in tl.static_range(STRIP):
                total += new[k]
            totals = added + (total,)  # noqa: RUF005 (Triton cannot unpack)
            window = window[STRIP:]
    part = (tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64)
    for k in tl.static_range(SIZE * SIZE + 1):
        to = sums + (part * (SIZE * SIZE + 1) + k) * channels + c
        tl.store(to, totals[k], mask=c < channels)


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _convolve(x, weight, bias, rotated=False)


def depthwise_data_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return _convolve(grad, weight, None, rotated=True)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, rotated: bool) -> Tensor:
    n, channels, height, width = x.shape
    strips, blocks = triton.cdiv(width, STRIP), triton.cdiv(channels, LANES)
    rows = rows_of_a_program(height, strips * blocks * n, SMS * WARPS)
    out = torch.empty_like(x, memory_format=torch.channels_last)
    conv_kernel[strips * triton.cdiv(height, rows), blocks, n](
        *(x, _by_tap(weight), None if bias is None else bias.contiguous(), out),
        *(height, width, channels, rows),
        ROTATED=rotated,
        BIAS=bias is not None,
        STRIP=STRIP,
        LANES=LANES,
        num_warps=1,
    )
    return out


def depthwise_param_grads(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    n, channels, height, width = x.shape
    strips, blocks = triton.cdiv(width, GRAD_STRIP), triton.cdiv(channels, LANES)
    slots = SMS * GRAD_WARPS
    groups = min(n, triton.cdiv(slots, strips * blocks))
    rows = rows_of_a_program(height, strips * blocks * groups, slots)
    places = strips * triton.cdiv(height, rows)
    sums = x.new_empty(groups * places, weight[0].numel() + 1, channels, dtype=torch.float32)
    param_grads_kernel[places, blocks, groups](
        *(grad, x, sums, n, height, width, channels, rows, groups),
        STRIP=GRAD_STRIP,
        LANES=LANES,
        num_warps=1,
    )
    sums = sums.sum(0)
    return sums[:-1].t().contiguous().view(weight.shape), sums[-1]


def rows_of_a_program(height: int, columns: int, slots: int) -> int:
    """Return into how many rows to cut a map, so that the launch ends as early as possible.

    A program of r rows computes r + 6 lines. `slots` programs run at once, so a launch takes about
    ceil(programs / slots) * (r + 6) lines.

    Args:
        height: The rows of the map.
        columns: The programs for each cut of the rows: strips, blocks of channels and images.
        slots: The programs that run at once.
    """

    def lines(rows: int) -> int:
        programs = columns * triton.cdiv(height, rows)
        return triton.cdiv(programs, slots) * (rows + SIZE.value - 1)

    return min(range(1, height + 1), key=lines)


def _by_tap(weight: Tensor) -> Tensor:
    """(C, 1, 7, 7) -> (49, C)"""
    return weight.reshape(len(weight), -1).t().contiguous()
