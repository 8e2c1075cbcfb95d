"""The ConvNeXt block as one differentiable operation, and how it is computed.

:mod:`~convnext_mm.ops.block` has the operation, with a backward pass of its own that keeps less;
:mod:`~convnext_mm.ops.depthwise` and :mod:`~convnext_mm.ops.mlp` its two halves,
:mod:`~convnext_mm.ops.norm`, :mod:`~convnext_mm.ops.pointwise` and
:mod:`~convnext_mm.ops.folding` their steps, in PyTorch's functions. On a GPU
:mod:`~convnext_mm.ops.choice` puts Triton's (:mod:`~convnext_mm.ops.kernels`) in their place where
they are faster. A compiled backbone is of plain operations, with the convolutions of
:mod:`~convnext_mm.ops.convolution`. What all are tested against is the block in plain operations,
:class:`convnext_mm.ConvNeXtBlock` with ``lean='off'``.
"""

from convnext_mm.ops.block import LEAN_LEVELS, BlockParams, convnext_block

__all__ = ['LEAN_LEVELS', 'BlockParams', 'convnext_block']
