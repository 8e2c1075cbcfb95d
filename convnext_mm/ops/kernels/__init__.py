"""Triton kernels for the steps of the block. :mod:`..kernel_choice` says where they run.

All kernels read channels-last maps (N, C, H, W) or rows (M, C). They compute in fp32 for every
dtype, and add up in a fixed order without atomics, so that a run can be repeated bit by bit.
`KERNELS` maps the name of each operation to the kernel that computes the same as PyTorch, with the
same arguments and results.
"""

from convnext_mm.ops.kernels.depthwise import (
    depthwise_conv,
    depthwise_data_grad,
    depthwise_param_grads,
)
from convnext_mm.ops.kernels.gelu import gelu_backward
from convnext_mm.ops.kernels.norm import layer_norm, layer_norm_backward

KERNELS = dict(
    depthwise_conv=depthwise_conv,
    depthwise_data_grad=depthwise_data_grad,
    depthwise_param_grads=depthwise_param_grads,
    layer_norm=layer_norm,
    layer_norm_backward=layer_norm_backward,
    gelu_backward=gelu_backward,
)
