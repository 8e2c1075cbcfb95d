"""The block's elementwise steps that read and write large tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_mm.ops import choice


def wide(dtype: torch.dtype) -> torch.dtype:
    """What numbers of a type are added up in: fp32 at least."""
    return dtype if dtype == torch.float64 else torch.float32


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """What autocast has a convolution or product of `x` computed in; None where it has no say."""
    device = x.device.type
    if device == 'meta' or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def gelu_backward(
    grad: Tensor, hidden: Tensor, with_active: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """GELU of `hidden` (M, C) once more, if wanted, the gradient of `hidden`, and its column sums.

    The sums (C,) are the gradient of the bias that went into `hidden`, in fp32 at least.
    """
    return choice.run(_gelu_backward, grad.contiguous(), hidden.contiguous(), with_active)


def take(x: Tensor, kept: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The kept samples (all if None) of (N, C, H, W) in a type, channels-last in memory."""
    if kept is not None and _is_channels_last(x):
        return choice.run(_take, x, kept, dtype)
    return _take(x, kept, dtype)


def add_branch(
    x: Tensor, branch: Tensor, kept: Tensor | None, factor: Tensor | None = None
) -> Tensor:
    """`x` plus its branch, which has the kept samples only, all if None, times a factor (C,)."""
    if _is_channels_last(x) and _is_channels_last(branch):
        return choice.run(_add_branch, x, branch, kept, factor)
    return _add_branch(x, branch, kept, factor)


def add_slices(
    x: Tensor, slices: Iterable[Tensor], kept: Tensor | None, factor: Tensor | None
) -> Tensor:
    """The same of a branch in slices of its rows (M, C), which a CPU adds while they are cached."""
    if x.device.type == 'cpu':
        return _add_slices(x, slices, kept, factor)
    (rows,) = slices
    n, channels, height, width = x.shape
    branch = rows.view(n if kept is None else len(kept), height, width, channels)
    return add_branch(x, branch.permute(0, 3, 1, 2), kept, factor)


def _gelu_backward(grad, hidden, with_active):
    active = F.gelu(hidden) if with_active else None
    grad_hidden = torch.ops.aten.gelu_backward(grad, hidden)
    return active, grad_hidden, grad_hidden.sum(0, dtype=wide(hidden.dtype))


def _take(x, kept, dtype):
    layout = torch.channels_last
    if kept is None or x.device.type != 'cpu':
        part = (x if kept is None else x[kept]).to(dtype)
        return part.contiguous(memory_format=layout)
    out = torch.empty_like(x[: len(kept)], dtype=dtype, memory_format=layout)
    for part, sample in zip(out, kept.tolist()):
        part.copy_(x[sample])  # and casts it
    return out


def _add_branch(x, branch, kept, factor):
    if x.device.type == 'cpu':
        return _add_slices(x, [branch.permute(0, 2, 3, 1).flatten(0, 2)], kept, factor)
    if factor is not None:
        branch = branch * factor.view(-1, 1, 1)
    if kept is None:
        return (x + branch).to(x.dtype)
    return x.clone().index_add_(0, kept, branch.to(x.dtype))


def _add_slices(x, slices, kept, factor):
    n, channels, height, width = x.shape
    pixels = height * width
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    x_rows, out_rows = (m.permute(0, 2, 3, 1).reshape(-1, channels) for m in (x, out))
    if kept is not None:
        kept = kept.tolist()
        for sample in set(range(n)).difference(kept):
            out[sample] = x[sample]
    start = 0
    for rows in slices:
        if factor is not None:
            rows = rows * factor
        rows = rows.to(x.dtype)  # faster than to add different types
        for part, place in _places(start, len(rows), pixels, kept):
            torch.add(x_rows[place], rows[part], out=out_rows[place])
        start += len(rows)
    return out


def _places(start: int, size: int, pixels: int, kept: list[int] | None) -> Iterator:
    """Parts of a slice that starts at `start` of the kept samples, and where in all they are."""
    if kept is None:
        yield slice(0, size), slice(start, start + size)
        return
    done = 0
    while done < size:
        nth, first = divmod(start + done, pixels)
        count = min(pixels - first, size - done)
        at = kept[nth] * pixels + first
        yield slice(done, done + count), slice(at, at + count)
        done += count


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)
