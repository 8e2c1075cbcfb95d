"""The two ends of the residual branch: gather the kept samples, and add the branch to the map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def gather_samples(x: Tensor, kept: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the kept samples of a map in `dtype`, channels-last in memory.

    Args:
        x: (N, C, H, W).
        kept: Indices of the samples that stochastic depth keeps, or None for all.
        dtype: The dtype of the result.
    """
    layout = torch.channels_last
    if kept is None:
        return x.to(dtype).contiguous(memory_format=layout)
    if x.device.type != 'cpu':
        return x[kept].to(dtype).contiguous(memory_format=layout)
    # Copy and cast each sample in one pass.
    out = torch.empty_like(x[: len(kept)], dtype=dtype, memory_format=layout)
    for target, sample in zip(out, kept.tolist()):
        target.copy_(x[sample])
    return out


def add_residual(
    x: Tensor, branch: Tensor, kept: Tensor | None, factor: Tensor | None = None
) -> Tensor:
    """Return `x` plus factor * branch at the kept samples, in the dtype of `x`.

    Args:
        x: (N, C, H, W).
        branch: (K, C, H, W), one sample for each index in `kept`.
        kept: Indices of the samples that have a branch, (K,), or None for all.
        factor: A factor for each channel, (C,), or None for 1.
    """
    if x.device.type == 'cpu':
        return _add_rows_on_cpu(x, [branch.permute(0, 2, 3, 1).flatten(0, 2)], kept, factor)
    if factor is not None:
        branch = branch * factor.view(-1, 1, 1)
    if kept is None:
        return (x + branch).to(x.dtype)
    return x.clone().index_add_(0, kept, branch.to(x.dtype))


def add_residual_slices(
    x: Tensor, slices: Iterable[Tensor], kept: Tensor | None, factor: Tensor | None
) -> Tensor:
    """Do the same as :func:`add_residual` for a branch that comes in slices of its rows (m, C).

    On a CPU each slice is added while it is in cache. Other devices expect a single slice.
    """
    if x.device.type == 'cpu':
        return _add_rows_on_cpu(x, slices, kept, factor)
    (rows,) = slices
    n, channels, height, width = x.shape
    branch = rows.view(n if kept is None else len(kept), height, width, channels)
    return add_residual(x, branch.permute(0, 3, 1, 2), kept, factor)


def _add_rows_on_cpu(x, slices, kept, factor):
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
        rows = rows.to(x.dtype)  # a cast and an addition are faster than a mixed addition
        for source, target in _row_ranges(start, len(rows), pixels, kept):
            torch.add(x_rows[target], rows[source], out=out_rows[target])
        start += len(rows)
    return out


def _row_ranges(
    start: int, size: int, pixels: int, kept: list[int] | None
) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of rows within a slice, each with the same rows' range within the whole map.

    Args:
        start: The index of the first row of the slice among all rows of the kept samples.
        size: The number of rows in the slice.
        pixels: Rows in a sample, H * W.
        kept: Indices of the kept samples, or None for all.
    """
    if kept is None:
        yield slice(0, size), slice(start, start + size)
        return
    done = 0
    while done < size:
        nth, first = divmod(start + done, pixels)
        count = min(pixels - first, size - done)
        target = kept[nth] * pixels + first
        yield slice(done, done + count), slice(target, target + count)
        done += count
