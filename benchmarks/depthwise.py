#!/usr/bin/env python
"""Measure the 7x7 depthwise weight gradient on a CPU, PyTorch's and ours, for ConvNeXt-T.

OMP_NUM_THREADS=1 benchmarks/depthwise.py
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from convnext_mm.ops.depthwise import depthwise_weight_grad

SHAPES = [(2, 96, 128, 128), (2, 192, 64, 64), (2, 384, 32, 32), (2, 768, 16, 16)]
REPEATS = 7


def pytorchs(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.aten.convolution_backward(
        *(grad, x, weight, None, [1, 1], [3, 3], [1, 1], False, [0, 0], x.shape[1]),
        [False, True, False],
    )[1]


def milliseconds(function: Callable[..., Tensor], *tensors: Tensor) -> float:
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        function(*tensors)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[1:])  # the first is a warm-up


def main() -> int:
    print(f'milliseconds, medians of {REPEATS}, {torch.get_num_threads()} threads')
    print('| map | type | PyTorch | ours | faster |\n|---|---|--:|--:|--:|')
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            torch.manual_seed(0)
            x, grad = (
                torch.randn(shape).to(dtype, memory_format=torch.channels_last) for _ in range(2)
            )
            weight = torch.randn(shape[1], 1, 7, 7, dtype=dtype)
            theirs, ours = (
                milliseconds(f, grad, x, weight) for f in (pytorchs, depthwise_weight_grad)
            )
            name = str(dtype).removeprefix('torch.')
            print(
                f'| {"x".join(map(str, shape))} | {name} | {theirs:.1f} | {ours:.1f} | '
                f'{theirs / ours:.0f}x |'
            )
    return 0


if __name__ == '__main__':
    sys.exit(main())
