"""Which operations run our Triton kernels on a GPU; all others run PyTorch.

The choice is a table, not a measurement in the process of the user. So it is the same on every rank
and in every run. ``FASTER`` names the operations that were faster with our kernel than with
PyTorch, for each kind of GPU. It is written by hand from a run of ``benchmarks/kernels.py``. No GPU
has been measured yet, so the table is empty, and every GPU runs PyTorch.

The environment variable ``CONVNEXT_MM_KERNELS`` overrides the table: ``all``, ``none``, or names
from ``OPERATIONS`` with commas between them.

A kernel that fails, for example because Triton finds no C compiler, is named in a warning.
PyTorch takes its place for the rest of the process.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from convnext_mm.errors import SettingError
from convnext_mm.messages.wording import first_line

OPERATIONS = (
    *('depthwise_conv', 'depthwise_data_grad', 'depthwise_param_grads'),
    *('layer_norm', 'layer_norm_backward', 'gelu_backward'),
)
# Compute capability of a GPU -> the operations in which our kernel is faster there.
FASTER: dict[tuple[int, int], frozenset[str]] = {}
VARIABLE = 'CONVNEXT_MM_KERNELS'

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Other subclasses (fake tensors, DTensor) have no memory that a kernel could read.
_TENSOR_TYPES = (Tensor, nn.Parameter)
_failed: set[str] = set()


def run(operation: str, in_pytorch: Callable, *args: Any) -> Any:
    """Return ``in_pytorch(*args)``, computed by our kernel where the table says so.

    Args:
        operation: A name from ``OPERATIONS``.
        in_pytorch: The implementation in PyTorch.
        args: The arguments of both. The first is a channels-last map (N, C, H, W) or rows (M, C).

    Raises:
        SettingError: The environment variable has a value that is not allowed.
    """
    first = args[0]
    has_kernel = first.is_cuda and type(first) in _TENSOR_TYPES and first.dtype in _DTYPES
    if not has_kernel or not first.numel() or operation not in _chosen_on(first.device):
        return in_pytorch(*args)
    if operation in _failed:
        return in_pytorch(*args)
    try:
        kernel = _kernels()[operation]
        with torch.cuda.device(first.device):  # Triton launches on the current device
            return kernel(*args)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler, a linker and a driver raise many types
        _failed.add(operation)  # before the warning, which may be an error
        warnings.warn(
            f'ConvNeXt blocks run {operation} in PyTorch: the Triton kernel failed '
            f'({first_line(error)})',
            stacklevel=2,
        )
        return in_pytorch(*args)


@cache
def _chosen_on(device: torch.device) -> frozenset[str]:
    return chosen_operations(torch.cuda.get_device_capability(device), os.environ.get(VARIABLE, ''))


def chosen_operations(capability: tuple[int, int], setting: str) -> frozenset[str]:
    """Return the operations that run our kernels.

    Args:
        capability: The compute capability of the GPU.
        setting: The value of the environment variable, or ``''``.
    """
    if not setting:
        return FASTER.get(capability, frozenset())
    if setting in ('all', 'none'):
        return frozenset(OPERATIONS if setting == 'all' else ())
    names = frozenset(setting.split(','))
    if unknown := sorted(names.difference(OPERATIONS)):
        raise SettingError(
            f'{VARIABLE}={setting!r}: {unknown[0]!r} is not an operation; allowed are all, none, '
            f'and with commas between them {", ".join(OPERATIONS)}'
        )
    return names


def _kernels() -> Mapping[str, Callable]:
    from convnext_mm.ops.kernels import KERNELS  # needs Triton, which a CPU build does not have

    return KERNELS
