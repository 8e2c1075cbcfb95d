"""Which function computes an operation: PyTorch's or one of our kernels, whichever was faster here.

As with ``cudnn.benchmark``, the first time an operation is needed for some types, channels and size
on a GPU, all are run on the tensors at hand, and the fastest does it from then on in this process.
Sizes count in steps of four, so that training on many image sizes measures a few times, not always.

- Nothing is measured while a CUDA graph is captured: PyTorch does what was not chosen before.
- Nothing is measured under ``torch.use_deterministic_algorithms``: there it is the first kernel.
- A kernel that fails, or whose result is not PyTorch's, is not used; the first to do so is named in
  a warning. So is a missing Triton.
- Where measuring runs out of memory, it stays with PyTorch. Where the result is not finite, as in
  the first steps of a loss scaler, it is PyTorch's this time, and open again the next.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Subclasses other than these (fake tensors, DTensor) have no memory that a kernel could read.
KINDS = (Tensor, nn.Parameter)
REPEATS = 5
ROUNDS = 3
# Of the difference's norm to the result's: far above rounding (TF32, bf16), far below a mistake.
TOLERANCE = 0.02

_chosen: dict[tuple, Callable] = {}
_unusable: set[tuple[Callable, torch.dtype]] = set()
_found: dict[str, Sequence[Callable]] | None = None


def run(plain: Callable, *args: Any) -> Any:
    """`plain(*args)`, or the same from the kernel that was faster.

    Args:
        plain: PyTorch's way; the kernels are those named as this function is.
        args: Tensors and others. The first tells the size: a map (N, C, H, W), channels-last, rows
            (M, C), or a weight.
    """
    first = args[0]
    is_ours = first.is_cuda and type(first) in KINDS and first.dtype in DTYPES
    if not is_ours or not first.numel():
        return plain(*args)
    if first.device.index == torch.cuda.current_device():
        return _choice(plain, args)(*args)
    with torch.cuda.device(first.device):
        return _choice(plain, args)(*args)


def _choice(plain: Callable, args: Sequence) -> Callable:
    timed = not torch.are_deterministic_algorithms_enabled()
    key = (timed, *_key(plain, args))
    if key not in _chosen:
        if torch.cuda.is_current_stream_capturing():
            return plain
        kernels = _kernels().get(plain.__name__.strip('_'), ())
        usable = [k for k in kernels if (k, args[0].dtype) not in _unusable]
        function = fastest(plain, usable, args, timed)
        if function is None:
            return plain
        _chosen[key] = function
    return _chosen[key]


def _key(plain: Callable, args: Sequence) -> tuple:
    """What the fastest depends on: function, device, channels, size in steps of four, types."""
    first = args[0]
    # Not on the numbers that it multiplies with.
    kinds = (a.dtype if isinstance(a, Tensor) else a for a in args if not isinstance(a, float))
    size = (first.numel().bit_length() + 1) // 2
    return plain, first.device, first.shape[1], size, *kinds


def fastest(
    plain: Callable, kernels: Sequence[Callable], args: Sequence, timed: bool = True
) -> Callable | None:
    """The fastest that gives the numbers of `plain`; None where those are not finite.

    Without `timed` it is the first of the kernels that does.
    """
    if not kernels:
        return plain
    best, least = plain, float('inf')
    try:
        expected = plain(*args)
        if not all(result.isfinite().all() for result in _tensors(expected)):
            return None
        if timed:
            least = _seconds(plain, args)
        for kernel in kernels:
            problem = _problem(kernel, args, expected)
            if problem:
                _reject(kernel, args[0].dtype, problem)
            elif not timed:
                return kernel
            elif (seconds := _seconds(kernel, args)) < least:
                best, least = kernel, seconds
    except torch.OutOfMemoryError:
        return plain
    return best


def _problem(kernel: Callable, args: Sequence, expected: Any) -> str | None:
    """Why a kernel is not used, in a line."""
    try:
        result = kernel(*args)
        error = max(map(_error, _tensors(result), _tensors(expected)))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, its linker and a driver may raise
        return f'{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}'
    return None if error <= TOLERANCE else f"its result is not PyTorch's, by {error:.1%}"


def _error(result: Tensor, expected: Tensor) -> float:
    # In one pass each; wide copies of the largest tensors might not fit beside them.
    difference = torch.linalg.vector_norm(result - expected, dtype=torch.float32)
    scale = torch.linalg.vector_norm(expected, dtype=torch.float32)
    return (difference / scale.clamp_min(1e-30)).nan_to_num(float('inf')).item()


def _tensors(result: Any) -> list[Tensor]:
    return [r for r in (result if isinstance(result, tuple) else [result]) if r is not None]


def _seconds(function: Callable, args: Sequence) -> float:
    """Of one call, the launch included; the least of some rounds, for a GPU others use as well."""
    rounds = []
    for _ in range(ROUNDS):
        _synchronize(args)
        start = time.perf_counter()
        for _ in range(REPEATS):
            function(*args)
        _synchronize(args)
        rounds.append((time.perf_counter() - start) / REPEATS)
    return min(rounds)


def _synchronize(args: Sequence) -> None:
    if args[0].is_cuda:
        torch.cuda.synchronize()


def _reject(kernel: Callable, dtype: torch.dtype, problem: str) -> None:
    first = not _unusable
    _unusable.add((kernel, dtype))  # before the warning, which may be an error
    if first:
        name = getattr(kernel, '__name__', None) or kernel.func.__name__
        _warn(f'the Triton kernel {name.strip("_")} is not used ({problem})')


def _kernels() -> dict[str, Sequence[Callable]]:
    global _found
    if _found is None:
        try:
            from convnext_mm.ops.kernels import KERNELS as _found
        except Exception as error:  # a Triton of another age may fail in its own way
            _found = {}
            _warn(f'no Triton kernels ({type(error).__name__}: {error})')
    return _found


def _warn(problem: str) -> None:
    warnings.warn(f"ConvNeXt blocks run with PyTorch's kernels: {problem}", stacklevel=2)
