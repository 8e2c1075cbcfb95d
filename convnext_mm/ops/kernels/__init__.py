"""The block's GPU kernels, in Triton. Of the package only :mod:`..choice` imports it, on a GPU.

All read maps of (N, C, H, W) that are channels-last in memory, rows (M, C) or weights; compute in
fp32 whatever the type; and add up in a fixed order, without atomics, so that a run can be repeated
bit by bit. `KERNELS` has for each operation the functions that can stand in for PyTorch's,
with the same arguments and results.
"""

from convnext_mm.ops.kernels.depthwise import CONVOLUTIONS, DATA_GRADS, PARAM_GRADS
from convnext_mm.ops.kernels.folding import fold, unfold
from convnext_mm.ops.kernels.norm import layer_norm, layer_norm_backward
from convnext_mm.ops.kernels.pointwise import add_branch, gelu_backward, take

KERNELS = dict(
    conv=CONVOLUTIONS,
    data_grad=DATA_GRADS,
    param_grads=PARAM_GRADS,
    fold=[fold],
    unfold=[unfold],
    layer_norm=[layer_norm],
    layer_norm_backward=[layer_norm_backward],
    gelu_backward=[gelu_backward],
    add_branch=[add_branch],
    take=[take],
)
