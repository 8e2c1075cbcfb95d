"""ConvNeXt for MMDetection and MMSegmentation.

::

    image (N,3,H,W) -> stem /4 -> stage0 /4 -> stage1 /8 -> stage2 /16 -> stage3 /32
                                     |            |            |             |
                                   norm0        norm1        norm2         norm3    LayerNorm each
                                     +------------+------------+-------------+
                                     tuple of (N, C_i, H/s_i, W/s_i) -> FPN (Mask R-CNN, Cascade)
                                                                     -> UPerHead

Where things are. A room imports only from the rooms above it::

    errors.py compat.py   mistakes of a user; workarounds for other packages
    messages/             findings, wording and log lines: what a person reads

    archs.py              the table of variants
    layer_decay.py        parameter name -> layer id -> learning-rate scale
    layers.py             LayerNorm2d, GRN, stochastic depth
    ops/                  the block as one operation; its kernels
    weights/              published files: names, formats, safe reading, loading, download
    backbone.py optim.py  ConvNeXt; layer-wise learning-rate decay
    ------------------    above: the core, which needs torch and MMEngine only
    config/               read a config, build its model, rescale its schedule, check both
    visualization/        draw objects and label maps
    datasets/             own/ data of a user, published/ COCO and ADE20K, shapes/ built in
    evaluation/           COCO metric, test-time augmentation, the report
    inference/            predict on images and videos
    diagnose/             doctor, learning rates, parameters and FLOPs, browse, weights files
    export/               ONNX
    engine/               train and test with MMEngine's Runner; hooks; a quiet terminal
    cli/                  the commands

Importing the package registers its classes in MMEngine's root registries and does nothing else. A
config can use ``type='convnext_mm.ConvNeXt'`` without an import, and ``type='ConvNeXt'`` after the
import of the package.

The commands in Python: :func:`train`, :func:`test` and :func:`predict` are loaded at first use, and
``convnext_mm.export.export`` writes an ONNX file. The commands in ``cli/`` call nothing else.
"""

import importlib

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    # No requirement of the distribution, as it comes in two families that must not be mixed.
    raise ModuleNotFoundError(
        'convnext_mm needs MMEngine and its family: pip install "convnext-mm[openmmlab]" '
        'or "convnext-mm[onedl]"'
    ) from error

from convnext_mm.archs import ARCHS, Arch
from convnext_mm.backbone import ConvNeXt, ConvNeXtBlock
from convnext_mm.compat import allow_mmengine_checkpoints
from convnext_mm.optim import LayerDecayOneCycleLR, LayerDecayOptimWrapperConstructor
from convnext_mm.weights.loading import ConvNeXtPretrained

_COMMANDS = {'train': 'engine', 'test': 'engine', 'predict': 'inference'}

__version__ = '0.1.0'

__all__ = [
    'ARCHS',
    'Arch',
    'ConvNeXt',
    'ConvNeXtBlock',
    'ConvNeXtPretrained',
    'LayerDecayOneCycleLR',
    'LayerDecayOptimWrapperConstructor',
]

allow_mmengine_checkpoints()  # also a registration: of types that torch.load may read


def __getattr__(name: str) -> object:
    """Load a command at first use: it needs MMDetection, MMSegmentation and drawing."""
    if name not in _COMMANDS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_COMMANDS[name]}'), name)
