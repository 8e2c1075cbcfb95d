"""ConvNeXt for MMDetection and MMSegmentation.

::

    image (N,3,H,W) -> stem /4 -> stage0 /4 -> stage1 /8 -> stage2 /16 -> stage3 /32
                                     |            |            |             |
                                   norm0        norm1        norm2         norm3    LayerNorm each
                                     +------------+------------+-------------+
                                     tuple of (N, C_i, H/s_i, W/s_i) -> FPN (Mask R-CNN, Cascade)
                                                                     -> UPerHead

Importing the package registers its classes in MMEngine's root registries, so a config may write
``type='convnext_mm.ConvNeXt'`` with nothing imported, or ``type='ConvNeXt'`` once it is.
"""

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    # Not a requirement of the distribution: it comes in two families that must not be mixed.
    raise ModuleNotFoundError(
        'convnext_mm needs MMEngine and its family: pip install "convnext-mm[openmmlab]" '
        'or "convnext-mm[onedl]"'
    ) from error

from convnext_mm.archs import ARCHS, Arch
from convnext_mm.backbone import ConvNeXt, ConvNeXtBlock
from convnext_mm.compat import allow_mmengine_checkpoints, keep_mmpretrain_optional
from convnext_mm.optim import LayerDecayOptimWrapperConstructor
from convnext_mm.weights.loading import ConvNeXtPretrained

__version__ = '0.1.0'

__all__ = [
    'ARCHS',
    'Arch',
    'ConvNeXt',
    'ConvNeXtBlock',
    'ConvNeXtPretrained',
    'LayerDecayOptimWrapperConstructor',
]

allow_mmengine_checkpoints()
keep_mmpretrain_optional()
