"""Which blocks :func:`~convnext_mm.ops.block.convnext_block` may replace."""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import Tensor, nn

from convnext_mm.layers import GRN
from convnext_mm.ops.block import BlockParams
from convnext_mm.ops.convolution import Conv2d

# Reading and comparing all at once takes a third of the time of separate comparisons.
_class_and_hooks = attrgetter(
    '__class__', '_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks'
)
_geometry = attrgetter(
    *('in_channels', 'out_channels', 'groups'),
    *('kernel_size', 'stride', 'padding', 'dilation', 'padding_mode'),
)
_7X7 = ((7, 7), (1, 1), (3, 3), (1, 1), 'zeros')
# Other subclasses of Tensor (fake, distributed, quantised) may have no memory of their own.
_PLAIN_TENSORS = frozenset({Tensor, nn.Parameter, type(None)})


def resolve_recompute(recompute: str | None, device: torch.device) -> str:
    """Return the recomputation level for a device; None is the default of the device.

    The default is ``'pointwise'`` on a CPU, where it takes no more time than ``'none'``. It is
    ``'none'`` on every other device, because the Triton kernels have not been measured on a GPU.
    """
    if recompute is None:
        return 'pointwise' if device.type == 'cpu' else 'none'
    return recompute


def eligible_params(block: nn.Module, x: Tensor, drop_path_rate: float) -> BlockParams | None:
    """Return the parameters of a block if ``convnext_block`` may replace its layers, else None.

    It may not if

    - the call is traced or transformed (torch.compile, torch.jit, torch.func, forward-mode AD):
      compilers fuse plain operations themselves, and the others need rules for derivatives;
    - a layer has hooks, another class (an adapter, a parametrization, a quantised layer), another
      ``forward``, no bias, or another geometry than 7x7 depthwise;
    - the map or a parameter is a subclass of Tensor, such as a fake tensor or a DTensor;
    - a CUDA graph is being captured and stochastic depth is on: the graph would repeat one draw.

    Anyone may change a layer between two calls without assigning to the block, so every call asks.
    The questions take about 5 us, a hundredth of the smallest block.

    Args:
        block: A :class:`convnext_mm.ConvNeXtBlock`.
        x: Its input.
        drop_path_rate: The rate of this call: 0 in eval mode.
    """
    if _is_transformed():
        return None
    layers = block._modules  # reading attributes of a module is ten times slower
    dwconv, norm, grn = layers['dwconv'], layers['norm'], layers.get('grn')
    pwconv1, pwconv2 = layers['pwconv1'], layers['pwconv2']
    if not (
        (_is_unchanged(dwconv, Conv2d) or _is_unchanged(dwconv, nn.Conv2d))
        and _is_unchanged(norm, nn.LayerNorm)
        and _is_unchanged(pwconv1, nn.Linear)
        and _is_unchanged(pwconv2, nn.Linear)
        and (grn is None or _is_unchanged(grn, GRN))
        and _geometry(dwconv) == (*[dwconv.in_channels] * 3, *_7X7)
    ):
        return None
    params = BlockParams(
        *_pair(dwconv, 'weight', 'bias'),
        *_pair(norm, 'weight', 'bias'),
        *_pair(pwconv1, 'weight', 'bias'),
        *((None, None) if grn is None else _pair(grn, 'gamma', 'beta')),
        *_pair(pwconv2, 'weight', 'bias'),
        block.gamma,
    )
    if (
        params.dwconv_bias is None
        or params.norm_bias is None
        or params.pwconv1_bias is None
        or params.pwconv2_bias is None
        or type(x) not in _PLAIN_TENSORS
        or not _PLAIN_TENSORS.issuperset(map(type, params))
        or (drop_path_rate and x.is_cuda and torch.cuda.is_current_stream_capturing())
    ):
        return None
    return params


def _is_transformed() -> bool:
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def _is_unchanged(layer: nn.Module, kind: type[nn.Module]) -> bool:
    return _class_and_hooks(layer) == (kind, {}, {}, {}, {}) and 'forward' not in layer.__dict__


def _pair(layer: nn.Module, first: str, second: str) -> tuple[Tensor, Tensor | None]:
    own = layer._parameters
    try:
        return own[first], own[second]
    except KeyError:  # FSDP replaces parameters by tensors that are plain attributes
        return getattr(layer, first), getattr(layer, second)
