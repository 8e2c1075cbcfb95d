"""The block as one operation whose backward pass keeps less and computes less.

- It keeps the depthwise convolution's input and the tensor before the GELU, or the input alone, and
  computes the rest again (``lean``).
- Layer scale is folded into the second linear layer, see ``ops/folding.py``. (Not in fp16, whose
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

With up to ``NARROW`` channels ``'elementwise'`` is ``'block'``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from convnext_mm.ops.depthwise import depthwise_conv, depthwise_data_grad, depthwise_param_grads
from convnext_mm.ops.folding import fold, unfold
from convnext_mm.ops.mlp import MlpParams, mlp, mlp_backward
from convnext_mm.ops.pointwise import add_branch, add_slices, autocast_dtype, take, wide

LEAN_LEVELS = ('off', 'elementwise', 'block')
# Up to as many channels computing what goes into the GELU once more takes about as long as keeping
# it: to write and read it is most of the work. These are a ConvNeXt's largest maps.
NARROW = 128


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
    if not torch.is_grad_enabled():
        lean = 'block'  # a Function is told what requires a gradient, and not that none is wanted
    kept, scale = None, 1.0
    if drop_path_rate:
        scale = 1 / (1 - drop_path_rate)
        # On the host: the kept samples' number decides what is launched.
        draws = torch.rand(x.shape[0], device='cpu') >= drop_path_rate
        if not draws.all():
            kept = draws.nonzero().flatten().to(x.device, non_blocking=x.is_cuda)
    if dtype := autocast_dtype(x):
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(wide(x.dtype))
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
        channels, height, width = inner.shape[1:]
        keep = lean == 'elementwise' and channels > NARROW and any(ctx.needs_input_grad)
        hiddens = [] if keep else None
        rows = _rows(_conv(inner, params))
        branch = mlp(rows, _mlp_params(params, norm_eps, scale, dtype), height * width, hiddens)
        factor = None if _folds(params, dtype) else params.gamma * scale
        out = add_slices(x, branch, kept, factor)
        ctx.save_for_backward(*params, inner, *(hiddens or ()))
        return out

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled() and not grad.requires_grad:
            # A second derivative is to be an error: `once_differentiable` takes a constant gradient
            # for one that nobody differentiates.
            grad = grad.detach().requires_grad_()
        return _Block._first_derivatives(ctx, grad)

    @staticmethod
    @once_differentiable
    def _first_derivatives(ctx, grad):
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
        # In its own type where layer scale is yet to be applied.
        part = take(grad, ctx.kept, ctx.dtype if _folds(params, ctx.dtype) else grad.dtype)
        grad_inner, grads = _branch_backward(part, *saved[:1], list(saved[1:]), params, wanted, ctx)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = add_branch(grad, grad_inner, ctx.kept)
        return grad_x, None, None, None, None, None, *grads


def _conv(x: Tensor, p: BlockParams) -> Tensor:
    return depthwise_conv(x, p.dwconv_weight, p.dwconv_bias)


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C)"""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _branch_backward(grad, inner, hiddens, p, wanted, ctx):
    """Gradients of the branch's input and of the parameters, in the order of BlockParams."""
    dtype = ctx.dtype
    n, channels, height, width = inner.shape
    rows, grad = _rows(_conv(inner, p)), _rows(grad)
    mlp_params = _mlp_params(p, ctx.norm_eps, ctx.scale, dtype)
    pixels = height * width
    if _folds(p, dtype):
        m = mlp_backward(grad, rows, hiddens, mlp_params, pixels)
        second = unfold(m.weight2, m.bias2, p.pwconv2_weight, p.pwconv2_bias, p.gamma, ctx.scale)
        m = m._replace(**dict(zip(('weight2', 'bias2', 'scale'), second)))
    else:
        scaled = (grad * (p.gamma * ctx.scale)).to(dtype)
        m = mlp_backward(scaled, rows, hiddens, mlp_params, pixels, grad)
        m = m._replace(scale=m.scale * ctx.scale)

    grad_conv = m.rows.view(n, height, width, channels).permute(0, 3, 1, 2)
    kernel = p.dwconv_weight
    grad_inner = grad_dwconv = grad_dwconv_bias = None
    if ctx.needs_input_grad[0]:
        grad_inner = depthwise_data_grad(grad_conv, inner, kernel)
    if wanted.dwconv_weight or wanted.dwconv_bias:
        grad_dwconv, grad_dwconv_bias = depthwise_param_grads(grad_conv, inner, kernel)
    grads = BlockParams(
        dwconv_weight=grad_dwconv,
        dwconv_bias=grad_dwconv_bias,
        norm_weight=m.norm_weight,
        norm_bias=m.norm_bias,
        pwconv1_weight=m.weight1,
        pwconv1_bias=m.bias1,
        grn_gamma=m.grn_gamma,
        grn_beta=m.grn_beta,
        pwconv2_weight=m.weight2,
        pwconv2_bias=m.bias2,
        gamma=m.scale,
    )
    return grad_inner, [_like(g, q) if want else None for g, q, want in zip(grads, p, wanted)]


def _like(grad: Tensor, parameter: Tensor) -> Tensor:
    if grad.dtype != parameter.dtype:
        grad = grad.to(parameter.dtype)
    # Strides of what has size one matter to DDP's buckets, and `view_as` makes them alike.
    alike = grad.shape == parameter.shape and grad.stride() == parameter.stride()
    return grad if alike else grad.view_as(parameter)


# --- layer scale ----------------------------------------------------------------------------------


def _folds(p: BlockParams, dtype: torch.dtype) -> bool:
    """Whether layer scale goes into the weights: in fp16 a small one would leave its range."""
    return p.gamma is None or dtype != torch.float16


def _mlp_params(p: BlockParams, norm_eps: float, scale: float, dtype: torch.dtype) -> MlpParams:
    gamma, scale = (p.gamma, scale) if _folds(p, dtype) else (None, 1.0)
    linears = p.pwconv1_weight, p.pwconv1_bias, p.pwconv2_weight, p.pwconv2_bias
    weight1, bias1, weight2, bias2 = fold(*linears, gamma, scale, dtype)
    return MlpParams(
        p.norm_weight,
        p.norm_bias,
        norm_eps,
        weight1,
        bias1,
        None if p.grn_gamma is None else p.grn_gamma.view(-1),
        None if p.grn_beta is None else p.grn_beta.view(-1),
        weight2,
        bias2,
    )
