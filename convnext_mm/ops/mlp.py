"""The block's two linear layers with the GELU (and GRN) between them, and their derivatives.

The tensor between the two is four times as wide as the map. A CPU works on slices of rows, whose
part of it stays in the cache: to allocate, clear and read the whole takes as long as the matrix
products of the first stage.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from convnext_mm.layers import GRN_EPS

ROWS_A_THREAD = 1024  # of a slice; half and twice as many are as fast

# oneDNN's product, which for fp32 is up to a tenth faster than PyTorch's choice, MKL, on AMD. It is
# what torch.compile calls; no public function reaches it.
_ONEDNN = getattr(torch.ops.mkldnn, '_linear_pointwise', None)
if _ONEDNN is not None:

    @register_flop_formula(_ONEDNN)
    def _flops(rows, weight, *_, out_shape=None, **__) -> int:
        return 2 * rows[0] * weight[0] * weight[1]


class MlpParams(NamedTuple):
    """The layers' parameters, in the map's type; GRN's in their own, and None in V1."""

    weight1: Tensor  # (4C, C)
    bias1: Tensor  # (4C,)
    grn_gamma: Tensor | None  # (4C,)
    grn_beta: Tensor | None  # (4C,)
    weight2: Tensor  # (C, 4C)
    bias2: Tensor  # (C,)


class MlpGrads(NamedTuple):
    """What :func:`mlp_backward` gives; all but the first in fp32 or wider."""

    rows: Tensor  # (N * H * W, C), in the map's type
    weight1: Tensor
    bias1: Tensor
    grn_gamma: Tensor | None
    grn_beta: Tensor | None
    weight2: Tensor
    bias2: Tensor
    scale: Tensor | None  # (C,)


def mlp(rows: Tensor, p: MlpParams, pixels: int, keep: bool) -> tuple[Tensor, list[Tensor]]:
    """Apply the layers to every pixel of some samples.

    Args:
        rows: (N * H * W, C), one sample after the other.
        p: The parameters.
        pixels: H * W.
        keep: Whether the backward pass is to have what goes into the GELU.

    Returns:
        The output, (N * H * W, C), and what went into the GELU, by slices; or none of that.
    """
    outs, hiddens = [], []
    for part in _slices(rows, p, pixels):
        if keep or p.grn_gamma is not None:
            hidden = _linear(part, p.weight1, p.bias1)
            active = _activate(hidden, p, pixels)[0]
            if keep:
                hiddens.append(hidden)
            del hidden
        else:
            active = _linear_gelu(part, p.weight1, p.bias1)
        outs.append(_linear(active, p.weight2, p.bias2))
    return _joined(outs), hiddens


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
        hiddens: What the forward pass gave to keep, or nothing: it is computed again.
        grad_scaled: Gradient of the output times a scale for each channel, where that scale's
            gradient is wanted.
    """
    sums: dict[str, Tensor] = {}
    grads = []
    start = 0
    for part in _slices(rows, p, pixels):
        span = slice(start, start := start + len(part))
        hidden = hiddens[len(grads)] if hiddens else _linear(part, p.weight1, p.bias1)
        active, gelu, grn = _activate(hidden, p, pixels)
        if grad_scaled is not None:
            out = _linear(active, p.weight2, p.bias2)
            _add(sums, 'scale', (grad_scaled[span] * out).sum(0, dtype=_wide(out.dtype)))
        _add_product(sums, 'weight2', grad[span].t(), active)
        del active
        grad_active = grad[span] @ p.weight2
        if grn is not None:
            grad_active = _grn_backward(grad_active, gelu, grn, p, sums)
        grad_hidden = torch.ops.aten.gelu_backward(grad_active, hidden)
        del grad_active, hidden, gelu
        _add_product(sums, 'weight1', grad_hidden.t(), part)
        _add(sums, 'bias1', _sum(grad_hidden))
        grads.append(grad_hidden @ p.weight1)
    sums['bias2'] = _sum(grad)
    return MlpGrads(_joined(grads), *(sums.get(name) for name in MlpGrads._fields[1:]))


def _slices(rows: Tensor, p: MlpParams, pixels: int) -> tuple[Tensor, ...]:
    if rows.device.type != 'cpu':
        return (rows,)
    if p.grn_gamma is not None:  # which looks at a whole sample
        return rows.split(max(pixels, 1))
    return rows.split(ROWS_A_THREAD * torch.get_num_threads())


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


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
        and rows.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.enabled
    )


def _add_product(sums: dict[str, Tensor], name: str, a: Tensor, b: Tensor) -> None:
    """Add a @ b to a sum, in fp32 or wider."""
    if name in sums and a.dtype == sums[name].dtype:
        sums[name].addmm_(a, b)
    else:
        _add(sums, name, (a @ b).to(_wide(a.dtype)))


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name].add_(value) if name in sums else value


def _sum(rows: Tensor) -> Tensor:
    return rows.sum(0, dtype=_wide(rows.dtype))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


# --- GELU and GRN ---------------------------------------------------------------------------------


class _Grn(NamedTuple):
    norm: Tensor  # (N, 1, 4C), of each channel over the map
    mean: Tensor  # (N, 1, 1), of the norms, plus eps
    scale: Tensor  # (N, 1, 4C), what a channel is multiplied with


def _activate(
    hidden: Tensor, p: MlpParams, pixels: int
) -> tuple[Tensor, Tensor | None, _Grn | None]:
    """What goes into the second layer; and for GRN's backward pass its input, (N, H * W, 4C)."""
    gelu = F.gelu(hidden)
    if p.grn_gamma is None:
        return gelu, None, None
    gelu = gelu.unflatten(0, (-1, max(pixels, 1)))
    norm = torch.linalg.vector_norm(gelu, dim=1, keepdim=True, dtype=_wide(gelu.dtype))
    mean = norm.mean(dim=-1, keepdim=True) + GRN_EPS
    grn = _Grn(norm, mean, 1 + p.grn_gamma * (norm / mean))
    return (gelu * grn.scale + p.grn_beta).to(gelu.dtype).flatten(0, 1), gelu, grn


def _grn_backward(
    grad: Tensor, gelu: Tensor, grn: _Grn, p: MlpParams, sums: dict[str, Tensor]
) -> Tensor:
    """Gradient of GRN's input, (rows, 4C); those of gamma and beta are added to the sums."""
    wide = _wide(gelu.dtype)
    grad = grad.view_as(gelu)
    grad_scale = (grad * gelu).sum(1, keepdim=True, dtype=wide)
    ratio = grn.norm / grn.mean
    _add(sums, 'grn_beta', grad.sum((0, 1), dtype=wide))
    _add(sums, 'grn_gamma', (grad_scale * ratio).sum((0, 1)))
    grad_ratio = grad_scale * p.grn_gamma
    grad_mean = -(grad_ratio * grn.norm).sum(-1, keepdim=True) / grn.mean**2
    grad_norm = grad_ratio / grn.mean + grad_mean / gelu.shape[-1]
    # A channel that is zero everywhere has no direction to grow in.
    per_value = torch.where(grn.norm > 0, grad_norm / grn.norm, 0)
    return (grad * grn.scale + gelu * per_value).to(gelu.dtype).flatten(0, 1)
