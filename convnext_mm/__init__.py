"""ConvNeXt for MMDetection and MMSegmentation.

::

    image (N,3,H,W) -> stem /4 -> stage0 /4 -> stage1 /8 -> stage2 /16 -> stage3 /32
                                     |            |            |             |
                                   norm0        norm1        norm2         norm3    LayerNorm each
                                     +------------+------------+-------------+
                                     tuple of (N, C_i, H/s_i, W/s_i) -> FPN (Mask R-CNN, Cascade)
                                                                     -> UPerHead

Where things are. A room imports only from the rooms above it::

    errors.py compat.py   errors of a user; repairs of other packages
    messages/             findings, wording and log lines: what a person reads

    archs.py              the table of variants
    layer_decay.py        parameter name -> layer id -> learning-rate scale
    layers.py             LayerNorm2d, GRN, stochastic depth
    ops/                  the block as one operation; its kernels
    weights/              published files: names, formats, safe reading, loading, download
    backbone.py optim.py  ConvNeXt; layer-wise learning-rate decay
    ------------------    above: the core, which needs torch and MMEngine only
    config/               read a config, walk through it, build its model, rescale its schedule
    visualization/        draw objects and label maps
    datasets/             own/ data of a user, published/ COCO and ADE20K, shapes/ built in
    evaluation/           COCO metric, test-time augmentation, the report
    inference/            predict on images and videos
    diagnose/             doctor, learning rates, parameters and FLOPs, browse, weights files
    export/               ONNX
    engine/               train and test: from a config to a running MMEngine Runner, all hooks

Importing the package registers its classes in MMEngine's root registries and does nothing else. A
config may write ``type='convnext_mm.ConvNeXt'`` with nothing imported, or ``type='ConvNeXt'`` once
the package is imported.
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
from convnext_mm.compat import allow_mmengine_checkpoints
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

allow_mmengine_checkpoints()  # a registration as well: of types that torch.load may read
