"""LayerNorm and the MLP of a block: LayerNorm, linear, GELU, (GRN,) linear; and the gradients.

The functions work on rows (M, C), one row for each pixel. Except in GRN, pixels are independent.
On a CPU the rows are therefore processed in slices, so that the activations with 4C channels stay
in cache. Without slices, allocating, clearing and reading them takes as long as the matrix products
of the first stage. On other devices there is one slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_mm.ops.dtypes import accumulation_dtype
from convnext_mm.ops.gelu import gelu_backward
from convnext_mm.ops.grn import grn, grn_backward
from convnext_mm.ops.linear import add_product, linear, linear_gelu
from convnext_mm.ops.norm import layer_norm, layer_norm_backward

# The rows of a slice for each thread. Times with 512 and 2048 were the same.
ROWS_PER_THREAD = 1024


class NormMlpParams(NamedTuple):
    """The parameters for C channels. The linear layers have the dtype of the map."""

    norm_weight: Tensor  # (C,)
    norm_bias: Tensor  # (C,)
    norm_eps: float
    weight1: Tensor  # (4C, C)
    bias1: Tensor  # (4C,)
    grn_gamma: Tensor | None  # (4C,), None in V1
    grn_beta: Tensor | None  # (4C,), None in V1
    weight2: Tensor  # (C, 4C)
    bias2: Tensor  # (C,)


class NormMlpGrads(NamedTuple):
    """The gradients of the input and the parameters; the latter in their accumulation dtype."""

    rows: Tensor  # (M, C), in the dtype of the map
    norm_weight: Tensor
    norm_bias: Tensor
    weight1: Tensor
    bias1: Tensor
    grn_gamma: Tensor | None
    grn_beta: Tensor | None
    weight2: Tensor
    bias2: Tensor
    gamma: Tensor | None  # (C,), only if `grad_scaled` was given


def norm_mlp(
    rows: Tensor, p: NormMlpParams, pixels: int, hidden_slices: list[Tensor] | None
) -> Iterator[Tensor]:
    """Yield the output (m, C) of each slice. A slice is computed when the caller asks for it.

    Args:
        rows: The output of the depthwise convolution, (N * pixels, C), sample after sample.
        p: The parameters.
        pixels: H * W.
        hidden_slices: A list that collects the GELU input of each slice, (m, 4C), for the backward
            pass. None: the GELU input is not kept.
    """
    for part in _slices(rows, p, pixels):
        normed, _, _ = layer_norm(part, p.norm_weight, p.norm_bias, p.norm_eps)
        if hidden_slices is None:
            active = linear_gelu(normed, p.weight1, p.bias1)
        else:
            hidden_slices.append(linear(normed, p.weight1, p.bias1))
            active = F.gelu(hidden_slices[-1])
        if p.grn_gamma is not None:
            active, _ = grn(active, p.grn_gamma, p.grn_beta, pixels)
        yield linear(active, p.weight2, p.bias2)


def norm_mlp_backward(
    grad: Tensor,
    rows: Tensor,
    hidden_slices: list[Tensor],
    p: NormMlpParams,
    pixels: int,
    grad_scaled: Tensor | None = None,
) -> NormMlpGrads:
    """Return the gradients of the input and the parameters.

    Args:
        grad: Gradient of the output, (N * pixels, C).
        rows, p, pixels: The arguments of the forward pass.
        hidden_slices: The GELU inputs that the forward pass kept, or an empty list. If it is empty,
            they are computed again.
        grad_scaled: Gradient of gamma * output, (N * pixels, C), where the gradient of gamma is
            wanted although gamma is not merged into the second layer.
    """
    dtype = accumulation_dtype(rows.dtype)
    sums: dict[str, Tensor] = {}
    grad_slices = []
    start = 0
    # The slices of the forward pass. The number of threads may have changed since then.
    sizes = [len(hidden) for hidden in hidden_slices]
    for part in rows.split(sizes) if sizes else _slices(rows, p, pixels):
        span = slice(start, start := start + len(part))
        normed, mean, rstd = layer_norm(part, p.norm_weight, p.norm_bias, p.norm_eps)
        if hidden_slices:
            hidden = hidden_slices[len(grad_slices)]
        else:
            hidden = linear(normed, p.weight1, p.bias1)
        grad_part = grad[span]
        grad_active = linear(grad_part, p.weight2.t())
        if p.grn_gamma is None:
            active, grad_hidden, grad_bias1 = gelu_backward(grad_active, hidden, True)
        else:
            gelu = F.gelu(hidden)
            active, statistics = grn(gelu, p.grn_gamma, p.grn_beta, pixels)
            grad_gelu, grad_grn_gamma, grad_grn_beta = grn_backward(
                grad_active, gelu, statistics, p.grn_gamma, pixels
            )
            _add(sums, 'grn_gamma', grad_grn_gamma)
            _add(sums, 'grn_beta', grad_grn_beta)
            _, grad_hidden, grad_bias1 = gelu_backward(grad_gelu, hidden, False)
            del gelu, grad_gelu
        del grad_active, hidden
        if grad_scaled is not None:
            out = linear(active, p.weight2, p.bias2)
            _add(sums, 'gamma', (grad_scaled[span] * out).sum(0, dtype=dtype))
        sums['weight2'] = add_product(sums.get('weight2'), grad_part.t(), active)
        sums['weight1'] = add_product(sums.get('weight1'), grad_hidden.t(), normed)
        _add(sums, 'bias1', grad_bias1)
        grad_normed = linear(grad_hidden, p.weight1.t())
        del active, normed, grad_hidden
        grad_rows, grad_weight, grad_bias = layer_norm_backward(
            grad_normed, part, mean, rstd, p.norm_weight, p.norm_bias
        )
        grad_slices.append(grad_rows)
        _add(sums, 'norm_weight', grad_weight)
        _add(sums, 'norm_bias', grad_bias)
    sums['bias2'] = grad.sum(0, dtype=dtype)
    grad_rows = grad_slices[0] if len(grad_slices) == 1 else torch.cat(grad_slices)
    return NormMlpGrads(grad_rows, *(sums.get(name) for name in NormMlpGrads._fields[1:]))


def _slices(rows: Tensor, p: NormMlpParams, pixels: int) -> tuple[Tensor, ...]:
    if rows.device.type != 'cpu':
        return (rows,)
    size = ROWS_PER_THREAD * torch.get_num_threads()
    if p.grn_gamma is not None and pixels:  # GRN needs whole samples
        size = max(size // pixels, 1) * pixels
    return rows.split(size)


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name].add_(value) if name in sums else value
