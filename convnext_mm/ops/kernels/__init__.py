"""Triton kernels for the steps of the block. Only :mod:`..autotune` imports them, on a GPU.

All kernels read channels-last maps (N, C, H, W), rows (M, C) or weights. They compute in fp32 for
every dtype, and add up in a fixed order without atomics, so that a run can be repeated bit by bit.
`KERNELS` maps the name of each PyTorch implementation to the kernels that compute the same, with
the same arguments and results.
"""

from convnext_mm.ops.kernels.depthwise import CONVOLUTIONS, DATA_GRADS, PARAM_GRADS
from convnext_mm.ops.kernels.gelu import gelu_backward
from convnext_mm.ops.kernels.merge import merge_params, split_param_grads
from convnext_mm.ops.kernels.norm import layer_norm, layer_norm_backward
from convnext_mm.ops.kernels.residual import add_residual, gather_samples

KERNELS = dict(
    conv=CONVOLUTIONS,
    data_grad=DATA_GRADS,
    param_grads=PARAM_GRADS,
    merge_params=[merge_params],
    split_param_grads=[split_param_grads],
    layer_norm=[layer_norm],
    layer_norm_backward=[layer_norm_backward],
    gelu_backward=[gelu_backward],
    add_residual=[add_residual],
    gather_samples=[gather_samples],
)
