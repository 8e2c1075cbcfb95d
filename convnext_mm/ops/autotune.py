"""Choose the fastest implementation of an operation on a GPU: PyTorch's or one of our kernels.

This works like ``cudnn.benchmark``. The first time a process runs an operation for a device, number
of channels, size and dtypes, it times all implementations on the given tensors. It uses the fastest
from then on. Sizes are grouped by factors of four, so that training with many image sizes measures
a few times only.

- While a CUDA graph is captured, nothing is measured: operations without a choice use PyTorch.
- Under ``torch.use_deterministic_algorithms`` nothing is timed: the first usable kernel is chosen.
- A kernel that fails, or whose result differs from PyTorch's, is not used. The first such kernel
  is named in a warning, and so is a missing Triton.
- If the measurement runs out of memory, PyTorch is chosen. If PyTorch's result is not finite, as in
  the first steps of a loss scaler, PyTorch is used once and the next call measures again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnext_mm.messages.wording import first_line

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Other subclasses (fake tensors, DTensor) have no memory that a kernel could read.
TENSOR_TYPES = (Tensor, nn.Parameter)
REPEATS = 5
ROUNDS = 3
# Norm of the difference over norm of the result. Rounding (TF32, bf16) is far below, a wrong
# result far above.
TOLERANCE = 0.02

_chosen: dict[tuple, Callable] = {}
_unusable: set[tuple[Callable, torch.dtype]] = set()
_loaded_kernels: dict[str, Sequence[Callable]] | None = None


def run_fastest(reference: Callable, *args: Any) -> Any:
    """Return ``reference(*args)``, computed by the fastest implementation.

    Args:
        reference: The implementation in PyTorch. Its name without leading underscores is the key
            of its kernels in :data:`convnext_mm.ops.kernels.KERNELS`.
        args: The arguments. The first is the tensor that gives the size: a channels-last map
            (N, C, H, W), rows (M, C), or a weight.
    """
    first = args[0]
    has_kernels = first.is_cuda and type(first) in TENSOR_TYPES and first.dtype in DTYPES
    if not has_kernels or not first.numel():
        return reference(*args)
    if first.device.index == torch.cuda.current_device():
        return _choose(reference, args)(*args)
    with torch.cuda.device(first.device):
        return _choose(reference, args)(*args)


def _choose(reference: Callable, args: Sequence) -> Callable:
    timed = not torch.are_deterministic_algorithms_enabled()
    key = (timed, *_key(reference, args))
    if key not in _chosen:
        if torch.cuda.is_current_stream_capturing():
            return reference
        kernels = _kernels().get(reference.__name__.lstrip('_'), ())
        usable = [k for k in kernels if (k, args[0].dtype) not in _unusable]
        function = fastest(reference, usable, args, timed)
        if function is None:
            return reference
        _chosen[key] = function
    return _chosen[key]


def _key(reference: Callable, args: Sequence) -> tuple:
    """Return all that decides the choice: function, device, channels, size group, dtypes."""
    first = args[0]
    # Floats, such as eps, do not change the time.
    kinds = (a.dtype if isinstance(a, Tensor) else a for a in args if not isinstance(a, float))
    size_group = (first.numel().bit_length() + 1) // 2
    return reference, first.device, first.shape[1], size_group, *kinds


def fastest(
    reference: Callable, kernels: Sequence[Callable], args: Sequence, timed: bool = True
) -> Callable | None:
    """Return the fastest function with the result of `reference`, or None if that is not finite.

    Args:
        reference: The implementation in PyTorch.
        kernels: Other implementations.
        args: The arguments to measure with.
        timed: Whether to measure. If False, return the first kernel with the right result.
    """
    if not kernels:
        return reference
    best, least = reference, float('inf')
    try:
        expected = reference(*args)
        if not all(result.isfinite().all() for result in _tensors(expected)):
            return None
        if timed:
            least = _seconds(reference, args)
        for kernel in kernels:
            problem = _problem(kernel, args, expected)
            if problem:
                _reject(kernel, args[0].dtype, problem)
            elif not timed:
                return kernel
            elif (seconds := _seconds(kernel, args)) < least:
                best, least = kernel, seconds
    except torch.OutOfMemoryError:
        return reference
    return best


def _problem(kernel: Callable, args: Sequence, expected: Any) -> str | None:
    """Return in one line why a kernel cannot be used, or None."""
    try:
        result = kernel(*args)
        error = max(map(_relative_error, _tensors(result), _tensors(expected)))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler, a linker and a driver raise many types
        return first_line(error)
    return None if error <= TOLERANCE else f"its result differs from PyTorch's by {error:.1%}"


def _relative_error(result: Tensor, expected: Tensor) -> float:
    # The dtype argument avoids fp32 copies of the largest tensors, which may not fit in memory.
    difference = torch.linalg.vector_norm(result - expected, dtype=torch.float32)
    scale = torch.linalg.vector_norm(expected, dtype=torch.float32)
    return (difference / scale.clamp_min(1e-30)).nan_to_num(float('inf')).item()


def _tensors(result: Any) -> list[Tensor]:
    return [r for r in (result if isinstance(result, tuple) else [result]) if r is not None]


def _seconds(function: Callable, args: Sequence) -> float:
    """Return the time of a call, launch included: the least of some rounds, as GPUs are shared."""
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
        _warn(f'the Triton kernel {name.lstrip("_")} is not used ({problem})')


def _kernels() -> dict[str, Sequence[Callable]]:
    global _loaded_kernels
    if _loaded_kernels is None:
        try:
            from convnext_mm.ops.kernels import KERNELS as _loaded_kernels
        except Exception as error:  # other versions of Triton fail in other ways
            _loaded_kernels = {}
            _warn(f'no Triton kernels ({type(error).__name__}: {error})')
    return _loaded_kernels


def _warn(problem: str) -> None:
    warnings.warn(f"ConvNeXt blocks run with PyTorch's kernels: {problem}", stacklevel=2)
