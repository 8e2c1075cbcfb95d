#!/usr/bin/env python
"""The Triton kernels on a GPU against PyTorch's, in the shapes of a training step: a table a stage.

benchmarks/kernels.py --json kernels.json

Milliseconds of the GPU, medians; `torch` is what the block did without kernels of its own: cuDNN's
on channels-last maps, and several passes where a kernel needs one. `NCHW` is PyTorch's own
depthwise kernel on contiguous maps. The floor is the time the memory takes to be read and written
once, or the multiply-adds outside tensor cores, whichever is more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from convnext_mm.archs import resolve_arch
from convnext_mm.ops import depthwise, folding, norm, pointwise

REPEATS = 21
TYPES = dict(bf16=torch.bfloat16, fp16=torch.float16, fp32=torch.float32)
# Bytes and multiply-adds a second of an H200.
BANDWIDTH, RATE = 4.8e12, 33.5e12


class Case(NamedTuple):
    """An operation on the tensors of a stage."""

    plain: Callable
    args: tuple
    moved: int  # bytes, at least
    products: int = 0  # multiply-adds

    def floor(self) -> float:
        return 1e3 * max(self.moved / BANDWIDTH, self.products / RATE)


def cases(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> dict[str, Case]:
    """Of a block whose map is (N, C, H, W), half of the samples kept where that matters."""
    n, channels = shape[:2]
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
    wide = x.float()
    kept = torch.arange(0, n, 2, device=device)
    half = grad[: len(kept)]
    add, take = pointwise._add_branch, pointwise._take
    half_bytes = 2 * 4 * x.numel() + one // 2
    linears = [
        torch.randn(size, device=device)
        for size in ((4 * channels, channels), 4 * channels, (channels, 4 * channels), channels)
    ]
    weights = linears[0].numel()
    return {
        'depthwise': Case(depthwise._conv, (x, weight, bias), 2 * one, products),
        'its data gradient': Case(depthwise._data_grad, (grad, x, weight), 2 * one, products),
        'its parameters': Case(depthwise._param_grads, (grad, x, weight), 2 * one, products),
        'LayerNorm': Case(norm._layer_norm, (rows, bias, bias, 1e-6), 2 * one),
        'its gradients': Case(
            norm._layer_norm_backward, (grads, rows, *normed[1:], bias, bias), 3 * one
        ),
        "GELU's gradient": Case(pointwise._gelu_backward, (grad_hidden, hidden, True), 16 * one),
        'residual': Case(add, (wide, x, None, None), 2 * 4 * x.numel() + one),
        'residual, half kept': Case(add, (wide, half, kept, None), half_bytes),
        'take half': Case(take, (wide, kept, dtype), 2 * x.numel() + one // 2),
        'folding': Case(
            folding._fold, (*linears, bias, 1.0, dtype), 2 * weights * (4 + dtype.itemsize)
        ),
        'unfolding': Case(
            folding._unfold, (*linears[2:], *linears[2:], bias, 1.0), 3 * 4 * weights
        ),
    }


def native(case: Case) -> Callable | None:
    """PyTorch's own depthwise kernel, which is there for contiguous maps."""
    if not case.products:
        return None
    args = [a.contiguous() if isinstance(a, Tensor) else a for a in case.args]

    def run() -> None:
        with torch.backends.cudnn.flags(enabled=False):
            case.plain(*args)

    return run


def milliseconds(functions: dict[str, Callable]) -> dict[str, float]:
    """Medians; the functions take turns. A GPU kept busy hides the launches."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    scratch = torch.empty(256 * 2**20, dtype=torch.uint8, device='cuda')
    for turn in range(REPEATS + 3):
        for name, function in functions.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            scratch.zero_()  # out of the L2 cache with what was there
            torch.cuda._sleep(500_000)
            start.record()
            function()
            end.record()
            end.synchronize()
            if turn >= 3:
                times[name].append(start.elapsed_time(end))
    return {name: statistics.median(found) for name, found in times.items()}


def measure(shape: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, dict]:
    from convnext_mm.ops.kernels import KERNELS

    found = {}
    for title, case in cases(shape, dtype, 'cuda').items():
        functions = dict(torch=lambda case=case: case.plain(*case.args))
        if run := native(case):
            functions['NCHW'] = run
        for number, kernel in enumerate(KERNELS[case.plain.__name__.strip('_')]):
            functions[f'Triton {number}'] = lambda kernel=kernel, case=case: kernel(*case.args)
        found[title] = dict(milliseconds(functions), floor=case.floor())
    return found


def table(title: str, found: dict[str, dict]) -> str:
    """Markdown."""
    lines = [f'\n**{title}**\n', '| ms | torch | NCHW | Triton | faster | floor |']
    lines.append('|---|--:|--:|--:|--:|--:|')
    for name, row in found.items():
        triton = min(ms for key, ms in row.items() if key.startswith('Triton'))
        nchw = f'{row["NCHW"]:.3f}' if 'NCHW' in row else ''
        lines.append(
            f'| {name} | {row["torch"]:.3f} | {nchw} | {triton:.3f} | '
            f'{row["torch"] / triton:.1f}x | {row["floor"]:.3f} |'
        )
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--arch', nargs='+', default=['tiny', 'base'])
    parser.add_argument(
        '--image', nargs=3, type=int, default=(2, 800, 1344), metavar=('N', 'H', 'W')
    )
    parser.add_argument('--dtype', nargs='+', choices=TYPES, default=['bf16'])
    parser.add_argument('--json', type=Path, help='write the figures here')
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
