"""The dtypes that the block computes and accumulates in."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for sums over values of `dtype`: float32, or float64 for float64."""
    return dtype if dtype == torch.float64 else torch.float32


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Return the dtype that autocast gives a convolution or matrix product of `x`.

    None if autocast is off for the device of `x`, or if `x` is float64, which it leaves alone.
    """
    device = x.device.type
    if device == 'meta' or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)
