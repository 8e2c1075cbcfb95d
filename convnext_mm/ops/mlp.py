"""What a block does after its convolution, and the derivatives: LayerNorm, linear, GELU, linear.

(V2 has GRN after the GELU.) Apart from GRN a pixel has nothing to do with another, so a CPU takes
slices of some thousand through all of it, one after the other. What is between two layers, four
times as wide as the map behind the first, then stays in the cache: to allocate, clear and read the
whole takes as long as the matrix products of the first stage.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

from convnext_mm.layers import GRN_EPS
from convnext_mm.ops.norm import layer_norm, layer_norm_backward
from convnext_mm.ops.pointwise import gelu_backward, wide

ROWS_A_THREAD = 1024  # of a slice; half and twice as many are as fast

# oneDNN's product, which for fp32 is up to a tenth faster than PyTorch's choice, MKL, on AMD. It is
# what torch.compile calls; no public function reaches it.
_ONEDNN = getattr(torch.ops.mkldnn, '_linear_pointwise', None)
if _ONEDNN is not None and _ONEDNN not in flop_registry:

    @register_flop_formula(_ONEDNN)
    def _flops(rows, weight, *_, out_shape=None, **__) -> int:
        return 2 * rows[0] * weight[0] * weight[1]


# cuBLAS's product of narrow matrices, as wide as it adds up.
_MM_WIDE = None if torch.version.hip else getattr(torch.ops.aten.mm, 'dtype', None)


class MlpParams(NamedTuple):
    """Parameters: the linear layers' in the map's type, the others in their own; no GRN in V1."""

    norm_weight: Tensor  # (C,)
    norm_bias: Tensor  # (C,)
    norm_eps: float
    weight1: Tensor  # (4C, C)
    bias1: Tensor  # (4C,)
    grn_gamma: Tensor | None  # (4C,)
    grn_beta: Tensor | None  # (4C,)
    weight2: Tensor  # (C, 4C)
    bias2: Tensor  # (C,)


class MlpGrads(NamedTuple):
    """What :func:`mlp_backward` gives; all but the first in fp32 or wider."""

    rows: Tensor  # (N * H * W, C), in the map's type
    norm_weight: Tensor
    norm_bias: Tensor
    weight1: Tensor
    bias1: Tensor
    grn_gamma: Tensor | None
    grn_beta: Tensor | None
    weight2: Tensor
    bias2: Tensor
    scale: Tensor | None  # (C,)


def mlp(rows: Tensor, p: MlpParams, pixels: int, hiddens: list[Tensor] | None) -> Iterator[Tensor]:
    """The output for every pixel of some samples, slice by slice, each computed when asked for.

    Args:
        rows: Output of the depthwise convolution, (N * H * W, C), one sample after the other.
        p: The parameters.
        pixels: H * W.
        hiddens: Takes what goes into the GELU, by slices, for the backward pass. None: not kept.
    """
    for part in _slices(rows, p, pixels):
        normed, _, _ = layer_norm(part, p.norm_weight, p.norm_bias, p.norm_eps)
        if hiddens is None:
            active = _linear_gelu(normed, p.weight1, p.bias1)
        else:
            hiddens.append(_linear(normed, p.weight1, p.bias1))
            active = F.gelu(hiddens[-1])
        if p.grn_gamma is not None:
            active = _grn(active, p, pixels)[0]
        yield _linear(active, p.weight2, p.bias2)


def mlp_backward(
    grad: Tensor,
    rows: Tensor,
    hiddens: list[Tensor],
    p: MlpParams,
    pixels: int,
    grad_scaled: Tensor | None = None,
) -> MlpGrads:
    """Gradients of the input and the parameters.

    Args:
        grad: Gradient of the output, (N * H * W, C).
        rows, p, pixels: As in the forward pass.
        hiddens: What the forward pass kept, or nothing: it is computed again.
        grad_scaled: Gradient of the output times a scale for each channel, where that scale's
            gradient is wanted.
    """
    sums: dict[str, Tensor] = {}
    grads = []
    start = 0
    # The same slices: the number of threads may be another now.
    sizes = [len(hidden) for hidden in hiddens]
    for part in rows.split(sizes) if sizes else _slices(rows, p, pixels):
        span = slice(start, start := start + len(part))
        normed, mean, rstd = layer_norm(part, p.norm_weight, p.norm_bias, p.norm_eps)
        hidden = hiddens[len(grads)] if hiddens else _linear(normed, p.weight1, p.bias1)
        grad_part = grad[span]
        grad_active = _linear(grad_part, p.weight2.t())
        if p.grn_gamma is None:
            active, grad_hidden, grad_bias1 = gelu_backward(grad_active, hidden, True)
        else:
            gelu = F.gelu(hidden)
            active, grn = _grn(gelu, p, pixels)
            grad_gelu = _grn_backward(grad_active, gelu, grn, p, pixels, sums)
            _, grad_hidden, grad_bias1 = gelu_backward(grad_gelu, hidden, False)
            del gelu, grad_gelu
        del grad_active, hidden
        if grad_scaled is not None:
            out = _linear(active, p.weight2, p.bias2)
            _add(sums, 'scale', (grad_scaled[span] * out).sum(0, dtype=wide(out.dtype)))
        _add_product(sums, 'weight2', grad_part.t(), active)
        _add_product(sums, 'weight1', grad_hidden.t(), normed)
        _add(sums, 'bias1', grad_bias1)
        grad_normed = _linear(grad_hidden, p.weight1.t())
        del active, normed, grad_hidden
        grad_rows, grad_weight, grad_bias = layer_norm_backward(
            grad_normed, part, mean, rstd, p.norm_weight, p.norm_bias
        )
        grads.append(grad_rows)
        _add(sums, 'norm_weight', grad_weight)
        _add(sums, 'norm_bias', grad_bias)
    sums['bias2'] = _sum(grad)
    rows_grad = grads[0] if len(grads) == 1 else torch.cat(grads)
    return MlpGrads(rows_grad, *(sums.get(name) for name in MlpGrads._fields[1:]))


def _slices(rows: Tensor, p: MlpParams, pixels: int) -> tuple[Tensor, ...]:
    if rows.device.type != 'cpu':
        return (rows,)
    size = ROWS_A_THREAD * torch.get_num_threads()
    if p.grn_gamma is not None:  # which looks at whole samples
        size = max(size // pixels, 1) * pixels if pixels else size
    return rows.split(size)


# --- matrix products and sums ---------------------------------------------------------------------


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if _takes_onednn(rows):
        return _ONEDNN(rows, weight, bias, 'none', [], '')
    return F.linear(rows, weight, bias)


def _linear_gelu(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if _takes_onednn(rows):
        return _ONEDNN(rows, weight, bias, 'gelu', [], 'none')
    return F.gelu(F.linear(rows, weight, bias))


def _takes_onednn(rows: Tensor) -> bool:
    return (
        _ONEDNN is not None
        and rows.device.type == 'cpu'
        and type(rows) is Tensor  # subclasses have no rule for it
        and _has_onednn(rows.dtype)
        and torch.backends.mkldnn.enabled
    )


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    if platform.machine() not in ('x86_64', 'AMD64') or not torch.backends.mkldnn.is_available():
        return False
    # Unlike F.linear it has no other way where the processor has no bf16.
    bf16 = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 or bf16


def _add_product(sums: dict[str, Tensor], name: str, a: Tensor, b: Tensor) -> None:
    """Add a @ b to a sum, in fp32 or wider."""
    if name in sums and a.dtype == sums[name].dtype:
        sums[name].addmm_(a, b)
    elif a.is_cuda and _MM_WIDE is not None and a.dtype != wide(a.dtype):
        _add(sums, name, _MM_WIDE(a, b, wide(a.dtype)))
    else:
        _add(sums, name, (a @ b).to(wide(a.dtype)))


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name].add_(value) if name in sums else value


def _sum(rows: Tensor) -> Tensor:
    return rows.sum(0, dtype=wide(rows.dtype))


# --- GRN ------------------------------------------------------------------------------------------


class _Grn(NamedTuple):
    norm: Tensor  # (N, 1, 4C), of each channel over the map
    mean: Tensor  # (N, 1, 1), of the norms, plus eps
    scale: Tensor  # (N, 1, 4C), what a channel is multiplied with


def _grn(rows: Tensor, p: MlpParams, pixels: int) -> tuple[Tensor, _Grn]:
    """GRN of the rows of some samples, and what its backward pass needs."""
    maps = rows.unflatten(0, (-1, pixels or 1))
    norm = torch.linalg.vector_norm(maps, dim=1, keepdim=True, dtype=wide(maps.dtype))
    mean = norm.mean(dim=-1, keepdim=True) + GRN_EPS
    grn = _Grn(norm, mean, 1 + p.grn_gamma * (norm / mean))
    return (maps * grn.scale + p.grn_beta).to(maps.dtype).flatten(0, 1), grn


def _grn_backward(
    grad: Tensor, rows: Tensor, grn: _Grn, p: MlpParams, pixels: int, sums: dict[str, Tensor]
) -> Tensor:
    """Gradient of GRN's input `rows`; those of gamma and beta are added to the sums."""
    sum_dtype = wide(rows.dtype)
    maps = rows.unflatten(0, (-1, pixels or 1))
    grad = grad.view_as(maps)
    grad_scale = (grad * maps.to(sum_dtype)).sum(1, keepdim=True, dtype=sum_dtype)
    ratio = grn.norm / grn.mean
    _add(sums, 'grn_beta', grad.sum((0, 1), dtype=sum_dtype))
    _add(sums, 'grn_gamma', (grad_scale * ratio).sum((0, 1)))
    grad_ratio = grad_scale * p.grn_gamma
    grad_mean = -(grad_ratio * grn.norm).sum(-1, keepdim=True) / grn.mean**2
    grad_norm = grad_ratio / grn.mean + grad_mean / maps.shape[-1]
    # A channel that is zero everywhere has no direction to grow in.
    per_value = torch.where(grn.norm > 0, grad_norm / grn.norm, 0)
    return (grad * grn.scale + maps * per_value).to(rows.dtype).flatten(0, 1)
