"""The ConvNeXt block as one differentiable operation, and its steps.

=====================  ==========================================================================
:mod:`.block`          the operation, with a backward pass that recomputes activations
:mod:`.eligibility`    which blocks may use it
:mod:`.residual`       gather the samples that take the branch; add the branch
:mod:`.merge`          merge layer scale and casts into the linear layers; split the gradients
:mod:`.depthwise`      the depthwise convolution and its gradients
:mod:`.norm_mlp`       LayerNorm and the MLP; their steps are in :mod:`.norm`, :mod:`.linear`,
                       :mod:`.gelu` and :mod:`.grn`
:mod:`.dtypes`         autocast and accumulation dtypes
:mod:`.kernel_choice`  which operations run the Triton kernels of :mod:`.kernels` on a GPU
:mod:`.convolution`    the convolutions of a compiled backbone
=====================  ==========================================================================

The tests compare the operation with the plain layers of :class:`convnext_mm.ConvNeXtBlock`
(``recompute='none'``).
"""

from convnext_mm.ops.block import RECOMPUTE_LEVELS, BlockParams, convnext_block
from convnext_mm.ops.eligibility import eligible_params, resolve_recompute

__all__ = [
    'RECOMPUTE_LEVELS',
    'BlockParams',
    'convnext_block',
    'eligible_params',
    'resolve_recompute',
]
