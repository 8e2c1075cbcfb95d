"""The block as one operation whose backward pass keeps less and computes less.

- It keeps the depthwise convolution's input and the tensor before the GELU, or the input alone, and
  computes the rest again (``lean``).
- Layer scale is folded into the second linear layer. Its gradient follows from that layer's:
  dgamma_c = sum_k dW'_ck W_ck + db'_c b_c, so the scaled tensor is never made. (Not in fp16, whose
  range small ones would leave.)
- Samples whose path is dropped are not computed.
- It has first derivatives only, and no rules for ``torch.func``: ``lean='off'`` has.
- In mixed precision the residual stream stays in fp32 and everything in the branch is kept in the
  narrow type.

Bytes kept for each element of the block's (N, C, H, W) map, in mixed precision and in fp32:

==================  =======  =====  ==================================
``lean``            mixed    fp32   computed again
==================  =======  =====  ==================================
``'off'``, V1       26       48     nothing
``'off'``, V2       40       60     nothing
``'elementwise'``   10       20     all but the linear layers
``'block'``         2        4      the whole branch
==================  =======  =====  ==================================
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from convnext_mm.layers import GRN_EPS
from convnext_mm.ops.depthwise import (
    depthwise_conv,
    depthwise_data_grad,
    depthwise_param_grads,
)
from convnext_mm.ops.norm import layer_norm, layer_norm_backward
from convnext_mm.ops.pointwise import add_branch, gelu_backward, take

LEAN_LEVELS = ('off', 'elementwise', 'block')


class BlockParams(NamedTuple):
    """The parameters of a block with C channels, in the order they are used.

    Those of GRN are None in V1, `gamma` (layer scale) is None in V2 and where it is off.
    """

    dwconv_weight: Tensor  # (C, 1, 7, 7)
    dwconv_bias: Tensor  # (C,)
    norm_weight: Tensor  # (C,)
    norm_bias: Tensor  # (C,)
    pwconv1_weight: Tensor  # (4C, C)
    pwconv1_bias: Tensor  # (4C,)
    grn_gamma: Tensor | None  # (1, 1, 1, 4C)
    grn_beta: Tensor | None  # (1, 1, 1, 4C)
    pwconv2_weight: Tensor  # (C, 4C)
    pwconv2_bias: Tensor  # (C,)
    gamma: Tensor | None  # (C,)


def convnext_block(
    x: Tensor, params: BlockParams, norm_eps: float, drop_path_rate: float, lean: str
) -> Tensor:
    """A block with its residual connection: (N, C, H, W) -> (N, C, H, W), both channels-last.

    Args:
        x: The map.
        params: The block's parameters.
        norm_eps: Added to LayerNorm's variance.
        drop_path_rate: Probability with which a sample skips the branch; the branch of the others
            is scaled by 1 / (1 - rate). The draw is the CPU generator's, whatever the device.
        lean: ``'elementwise'`` or ``'block'``, see above.
    """
    device = x.device.type
    kept, scale = None, 1.0
    if drop_path_rate:
        scale = 1 / (1 - drop_path_rate)
        # On the host: the kept samples' number decides what is launched.
        draws = torch.rand(x.shape[0], device='cpu') >= drop_path_rate
        if not draws.all():
            kept = draws.nonzero().flatten().to(x.device, non_blocking=True)
    if device != 'meta' and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            return _Block.apply(x, kept, scale, norm_eps, dtype, lean, *params)
    return _Block.apply(x, kept, scale, norm_eps, x.dtype, lean, *params)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kept, scale, norm_eps, dtype, lean, *params):
        ctx.kept, ctx.scale, ctx.norm_eps, ctx.dtype = kept, scale, norm_eps, dtype
        params = BlockParams(*params)
        if kept is not None and not len(kept):
            ctx.save_for_backward(*params)
            return x.clone()
        inner = take(x, kept, dtype)
        hidden = _first_half(inner, params, norm_eps).hidden
        branch = _second_half(hidden, params, scale, inner.shape)
        factor = None if _folds(params, dtype) else params.gamma * scale
        saved = [inner] if lean == 'block' else [inner, hidden]
        ctx.save_for_backward(*params, *saved)
        return add_branch(x, branch.permute(0, 3, 1, 2), kept, factor)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        # The types are those of the forward pass, whatever region backward is called in.
        if grad.device.type == 'meta':
            return _Block._backward(ctx, grad)
        with torch.autocast(grad.device.type, enabled=False):
            return _Block._backward(ctx, grad)

    @staticmethod
    def _backward(ctx, grad):
        wanted = BlockParams(*ctx.needs_input_grad[6:])
        tensors = ctx.saved_tensors  # once: hooks unpack them with every access
        params = BlockParams(*tensors[: len(wanted)])
        saved = tensors[len(wanted) :]
        if not saved:
            # Every sample skipped the branch. Zeros and not None: None would keep the optimizer
            # from decaying the weights, and DDP waiting.
            zeros = (torch.zeros_like(p) if want else None for p, want in zip(params, wanted))
            return grad, None, None, None, None, None, *zeros
        inner = saved[0]
        inputs = _first_half(inner, params, ctx.norm_eps, *saved[1:])
        # In the wide type where layer scale is yet to be applied, see _backward.
        part = take(grad, ctx.kept, ctx.dtype if _folds(params, ctx.dtype) else grad.dtype)
        grad_inner, grads = _backward(part, inner, inputs, params, wanted, ctx)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = add_branch(grad, grad_inner, ctx.kept)
        return grad_x, None, None, None, None, None, *grads


class _FirstHalf(NamedTuple):
    """The branch up to the GELU."""

    conv: Tensor  # (N * H * W, C), output of the depthwise convolution
    mean: Tensor  # (N * H * W, 1), of LayerNorm
    rstd: Tensor  # (N * H * W, 1)
    normed: Tensor  # (N * H * W, C)
    hidden: Tensor  # (N * H * W, 4C), output of the first linear layer


def _first_half(
    x: Tensor, p: BlockParams, norm_eps: float, hidden: Tensor | None = None
) -> _FirstHalf:
    """Depthwise convolution, LayerNorm and, unless it is given, the first linear layer."""
    dtype = x.dtype
    conv = depthwise_conv(x, p.dwconv_weight.to(dtype), p.dwconv_bias.to(dtype))
    conv = conv.permute(0, 2, 3, 1).flatten(0, 2)
    normed, mean, rstd = layer_norm(conv, p.norm_weight, p.norm_bias, norm_eps)
    if hidden is None:
        weight, bias = p.pwconv1_weight.to(dtype), p.pwconv1_bias.to(dtype)
        hidden = torch.addmm(bias, normed, weight.t())
    return _FirstHalf(conv, mean, rstd, normed, hidden)


def _second_half(hidden: Tensor, p: BlockParams, scale: float, shape: torch.Size) -> Tensor:
    """GELU, GRN, the second linear layer with layer scale folded in -> (N, H, W, C)."""
    n, channels, height, width = shape
    active = F.gelu(hidden)
    if p.grn_gamma is not None:
        active = active.view(n, height * width, 4 * channels)
        active = _scaled(active, _grn_scale(active, p).scale, p).flatten(0, 1)
    weight, bias = _folded(p, scale, hidden.dtype)
    return torch.addmm(bias, active, weight.t()).view(n, height, width, channels)


def _backward(grad, inner, inputs, p, wanted, ctx):
    """Gradients of the branch's input and of the parameters, in the order of BlockParams."""
    dtype = ctx.dtype
    n, channels, height, width = inner.shape
    grad = grad.permute(0, 2, 3, 1).reshape(-1, channels)
    folds = _folds(p, dtype)
    if not folds:
        grad_out, grad = grad, grad * (p.gamma * ctx.scale)
    grad = grad.to(dtype)
    weight, bias = _folded(p, ctx.scale, dtype)

    grad_active = grad @ weight
    grad_grn_gamma = grad_grn_beta = None
    if p.grn_gamma is None:
        active, grad_hidden, grad_pwconv1_bias = gelu_backward(grad_active, inputs.hidden, True)
    else:
        active = F.gelu(inputs.hidden)
        gelu = active.view(n, height * width, 4 * channels)
        grn = _grn_scale(gelu, p)
        active = _scaled(gelu, grn.scale, p).flatten(0, 1)
        grad_gelu, grad_grn_gamma, grad_grn_beta = _grn_backward(
            grad_active.view_as(gelu), gelu, grn, p
        )
        grad_gelu = grad_gelu.flatten(0, 1)
        _, grad_hidden, grad_pwconv1_bias = gelu_backward(grad_gelu, inputs.hidden, False)
        del gelu, grad_gelu
    del grad_active
    grad_weight = (grad.t() @ active).to(p.pwconv2_weight.dtype)
    grad_bias = _sum(grad)
    grad_gamma = None
    if not folds:
        # From the branch itself, which is computed once more.
        branch = torch.addmm(bias, active, weight.t())
        grad_gamma = (grad_out * branch).sum(0, dtype=_wide(dtype)) * ctx.scale
    elif p.gamma is not None:
        grad_gamma = (grad_weight * p.pwconv2_weight).sum(1) + grad_bias * p.pwconv2_bias
        grad_gamma = grad_gamma * ctx.scale
        grad_weight = grad_weight * (p.gamma * ctx.scale)[:, None]
        grad_bias = grad_bias * (p.gamma * ctx.scale)
    elif ctx.scale != 1.0:
        grad_weight, grad_bias = grad_weight * ctx.scale, grad_bias * ctx.scale
    del active

    grad_pwconv1 = grad_hidden.t() @ inputs.normed if wanted.pwconv1_weight else None
    grad_normed = grad_hidden @ p.pwconv1_weight.to(dtype)
    del grad_hidden
    grad_conv, grad_norm, grad_norm_bias = layer_norm_backward(
        grad_normed, inputs.conv, inputs.mean, inputs.rstd, p.norm_weight, p.norm_bias
    )
    grad_conv = grad_conv.view(n, height, width, channels).permute(0, 3, 1, 2)

    kernel = p.dwconv_weight.to(dtype)
    grad_inner = grad_dwconv = grad_dwconv_bias = None
    if ctx.needs_input_grad[0]:
        grad_inner = depthwise_data_grad(grad_conv, inner, kernel)
    if wanted.dwconv_weight or wanted.dwconv_bias:
        grad_dwconv, grad_dwconv_bias = depthwise_param_grads(grad_conv, inner, kernel)
    grads = BlockParams(
        dwconv_weight=grad_dwconv,
        dwconv_bias=grad_dwconv_bias,
        norm_weight=grad_norm,
        norm_bias=grad_norm_bias,
        pwconv1_weight=grad_pwconv1,
        pwconv1_bias=grad_pwconv1_bias,
        grn_gamma=grad_grn_gamma,
        grn_beta=grad_grn_beta,
        pwconv2_weight=grad_weight,
        pwconv2_bias=grad_bias,
        gamma=grad_gamma,
    )
    return grad_inner, [
        g.to(q.dtype).view_as(q) if want else None for g, q, want in zip(grads, p, wanted)
    ]


def _folds(p: BlockParams, dtype: torch.dtype) -> bool:
    """Whether layer scale goes into the weights: in fp16 a small one would leave its range."""
    return p.gamma is None or dtype != torch.float16


def _folded(p: BlockParams, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The second linear layer, times layer scale and the drop path's factor where it folds."""
    weight, bias = p.pwconv2_weight, p.pwconv2_bias
    if not _folds(p, dtype):
        pass
    elif p.gamma is not None:
        gamma = p.gamma * scale
        weight, bias = weight * gamma[:, None], bias * gamma
    elif scale != 1.0:
        weight, bias = weight * scale, bias * scale
    return weight.to(dtype), bias.to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _sum(rows: Tensor) -> Tensor:
    return rows.sum(0, dtype=_wide(rows.dtype))


# --- GRN, on (N, H * W, 4C) -----------------------------------------------------------------------


class _Grn(NamedTuple):
    norm: Tensor  # (N, 1, 4C), of each channel over the map
    mean: Tensor  # (N, 1, 1), of the norms, plus eps
    scale: Tensor  # (N, 1, 4C), what a channel is multiplied with


def _grn_scale(x: Tensor, p: BlockParams) -> _Grn:
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=_wide(x.dtype))
    mean = norm.mean(dim=-1, keepdim=True) + GRN_EPS
    return _Grn(norm, mean, 1 + p.grn_gamma.view(-1) * (norm / mean))


def _scaled(x: Tensor, scale: Tensor, p: BlockParams) -> Tensor:
    return (x * scale + p.grn_beta.view(-1)).to(x.dtype)


def _grn_backward(grad, x, grn, p):
    """Gradients of GRN's input, gamma and beta."""
    wide = _wide(x.dtype)
    grad_beta = grad.sum((0, 1), dtype=wide)
    grad_scale = (grad * x).sum(1, keepdim=True, dtype=wide)
    ratio = grn.norm / grn.mean
    grad_gamma = (grad_scale * ratio).sum((0, 1))
    grad_ratio = grad_scale * p.grn_gamma.view(-1)
    grad_mean = -(grad_ratio * grn.norm).sum(-1, keepdim=True) / grn.mean**2
    grad_norm = grad_ratio / grn.mean + grad_mean / x.shape[-1]
    # A channel that is zero everywhere has no direction to grow in.
    per_value = torch.where(grn.norm > 0, grad_norm / grn.norm, 0)
    return (grad * grn.scale + x * per_value).to(x.dtype), grad_gamma, grad_beta
