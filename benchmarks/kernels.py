#!/usr/bin/env python
"""Measure the Triton kernels against PyTorch on a GPU, in the shapes of a training step.

benchmarks/kernels.py --json kernels.json

`convnext_mm/ops/kernel_choice.py` keeps the result: the operations in which our kernel is faster.
One table for each stage, with median milliseconds of GPU time:

- torch: the implementation in PyTorch that the kernel replaces, with cuDNN on channels-last maps.
- NCHW: PyTorch's own depthwise kernel on contiguous maps.
- Triton: our kernel.
- floor: the lower bound for an H200. It is the time to read and write the memory once, or the time
  of the multiply-adds outside tensor cores if that is longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from convnext_mm.archs import resolve_arch
from convnext_mm.ops import depthwise, gelu, norm

REPEATS, WARM_UP = 21, 3
TYPES = dict(bf16=torch.bfloat16, fp16=torch.float16, fp32=torch.float32)
# Bytes and multiply-adds per second of an H200.
BANDWIDTH, RATE = 4.8e12, 33.5e12


class Case(NamedTuple):
    """An operation with the tensors of a stage."""

    reference: Callable
    args: tuple
    moved: int  # bytes that must be read and written
    products: int = 0  # multiply-adds

    def floor(self) -> float:
        return 1e3 * max(self.moved / BANDWIDTH, self.products / RATE)


def cases(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> dict[str, Case]:
    """Return the operations of a block that have a kernel, for a map (N, C, H, W), by name."""
    channels = shape[1]
    x, grad = (
        torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last)
        for _ in range(2)
    )
    weight = torch.randn(channels, 1, 7, 7, device=device)
    bias = torch.randn(channels, device=device)
    one = x.numel() * x.element_size()
    products = 49 * x.numel()
    rows, grads = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (x, grad))
    normed = norm._layer_norm(rows, bias, bias, 1e-6)
    hidden, grad_hidden = (torch.cat([t] * 4, dim=1) for t in (rows, grads))
    return {
        'depthwise_conv': Case(depthwise._conv, (x, weight, bias), 2 * one, products),
        'depthwise_data_grad': Case(depthwise._data_grad, (grad, x, weight), 2 * one, products),
        'depthwise_param_grads': Case(depthwise._param_grads, (grad, x, weight), 2 * one, products),
        'layer_norm': Case(norm._layer_norm, (rows, bias, bias, 1e-6), 2 * one),
        'layer_norm_backward': Case(
            norm._layer_norm_backward, (grads, rows, *normed[1:], bias, bias), 3 * one
        ),
        'gelu_backward': Case(gelu._gelu_backward, (grad_hidden, hidden, True), 16 * one),
    }


def native(case: Case) -> Callable | None:
    """Return PyTorch's own depthwise kernel, which needs contiguous maps; None for other cases."""
    if not case.products:
        return None
    args = [a.contiguous() if isinstance(a, Tensor) else a for a in case.args]

    def run() -> None:
        with torch.backends.cudnn.flags(enabled=False):
            case.reference(*args)

    return run


def milliseconds(
    functions: dict[str, Callable], device: str = 'cuda', repeats: int = REPEATS
) -> dict[str, float]:
    """Return the median time of each function. The functions take turns.

    On a GPU this is the time of the GPU. On a CPU, where the kernels run in Triton's interpreter,
    it shows only that the measurement works.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    timed = _gpu_milliseconds if device == 'cuda' else _cpu_milliseconds
    for turn in range(repeats + WARM_UP):
        for name, function in functions.items():
            found = timed(function)
            if turn >= WARM_UP:
                times[name].append(found)
    return {name: statistics.median(found) for name, found in times.items()}


def _gpu_milliseconds(function: Callable) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.empty(256 * 2**20, dtype=torch.uint8, device='cuda').zero_()  # clear the L2 cache
    torch.cuda._sleep(500_000)  # so that the launches are not measured
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _cpu_milliseconds(function: Callable) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def measure(
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    device: str = 'cuda',
    repeats: int = REPEATS,
) -> dict[str, dict]:
    from convnext_mm.ops.kernels import KERNELS

    found = {}
    for title, case in cases(shape, dtype, device).items():
        functions = dict(torch=lambda case=case: case.reference(*case.args))
        if run := native(case):
            functions['NCHW'] = run
        functions['Triton'] = lambda kernel=KERNELS[title], case=case: kernel(*case.args)
        found[title] = dict(milliseconds(functions, device, repeats), floor=case.floor())
    return found


def table(title: str, found: dict[str, dict]) -> str:
    """Return a Markdown table."""
    lines = [f'\n**{title}**\n', '| ms | torch | NCHW | Triton | faster | floor |']
    lines.append('|---|--:|--:|--:|--:|--:|')
    for name, row in found.items():
        nchw = f'{row["NCHW"]:.3f}' if 'NCHW' in row else ''
        lines.append(
            f'| {name} | {row["torch"]:.3f} | {nchw} | {row["Triton"]:.3f} | '
            f'{row["torch"] / row["Triton"]:.1f}x | {row["floor"]:.3f} |'
        )
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--arch', nargs='+', default=['tiny', 'base'])
    parser.add_argument(
        '--image', nargs=3, type=int, default=(2, 800, 1344), metavar=('N', 'H', 'W')
    )
    parser.add_argument('--dtype', nargs='+', choices=TYPES, default=['bf16'])
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print('no GPU: there is nothing to measure')
        return 0
    machine = f'{torch.cuda.get_device_name()}, torch {torch.__version__}'
    print(f'{machine}, medians of {REPEATS}')
    n, height, width = args.image
    result: dict = dict(machine=machine, tables={})
    for name in args.dtype:
        for arch in args.arch:
            for stage, channels in enumerate(resolve_arch(arch).channels):
                shape = (n, channels, height // (4 << stage), width // (4 << stage))
                title = f'{arch}, {name}, {"x".join(map(str, shape))}'
                result['tables'][title] = measure(shape, TYPES[name])
                print(table(title, result['tables'][title]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
