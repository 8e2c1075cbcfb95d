"""The ConvNeXt block as one differentiable operation, and how it is computed.

:mod:`~convnext_mm.ops.block` has the operation, with a backward pass of its own that keeps less;
:mod:`~convnext_mm.ops.mlp` its linear layers, :mod:`~convnext_mm.ops.depthwise` the 7x7 depthwise
convolution's gradients. What they are tested against is the block in plain operations,
:class:`convnext_mm.ConvNeXtBlock` with ``lean='off'``.
"""

from convnext_mm.ops.block import LEAN_LEVELS, BlockParams, convnext_block

__all__ = ['LEAN_LEVELS', 'BlockParams', 'convnext_block']
