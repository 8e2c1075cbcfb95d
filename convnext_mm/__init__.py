"""ConvNeXt for MMDetection and MMSegmentation.

::

    image (N,3,H,W) -> stem /4 -> stage0 /4 -> stage1 /8 -> stage2 /16 -> stage3 /32
                                     |            |            |             |
                                   norm0        norm1        norm2         norm3    LayerNorm each
                                     +------------+------------+-------------+
                                     tuple of (N, C_i, H/s_i, W/s_i) -> FPN (Mask R-CNN, Cascade)
                                                                     -> UPerHead

Where things are. A room imports only from the rooms above it::

    errors.py             mistakes of a user
    messages/             findings, wording and log lines: what a person reads
    recipes.py compat.py  the recipes by name; workarounds for other packages

    archs.py              the table of variants
    layer_decay.py        parameter name -> layer id -> learning-rate scale
    layers.py             LayerNorm2d, GRN, stochastic depth
    ops/                  the block as one operation; its kernels
    weights/              published files: names, formats, safe reading, loading, download
    stages.py             a stem, four stages and their outputs
    backbone.py neck.py   ConvNeXt; the pooled norm of its classifier
    optim.py              layer-wise learning-rate decay
    roadmap/              the networks between ResNet and ConvNeXt, step by step
    registration.py       the classes in the registries of MMEngine
    ------------------    above: the core, which needs torch and MMEngine only
    config/               read a config, build its model, rescale its schedule, check both
    visualization/        draw objects and label maps
    datasets/             own/ data of a user, published/ COCO and ADE20K, shapes/ built in
    evaluation/           COCO metric, test-time augmentation, the report
    inference/            predict on images and videos
    diagnose/             doctor, learning rates, parameters and FLOPs, browse, weights files
    export/               ONNX
    engine/               train and test with MMEngine's Runner; hooks; a quiet terminal
    experiments/          many trainings under one recipe, compared
    cli/                  the command convnext-mm
    __main__.py           the same: python -m convnext_mm

Importing the package registers its classes in MMEngine's root registries and does nothing else. It
imports neither torch nor MMEngine: the registration waits until MMEngine is imported. A config can
use ``type='convnext_mm.ConvNeXt'`` without an import, and ``type='ConvNeXt'`` after the import of
the package.

In Python, :func:`train`, :func:`test`, :func:`load` and :func:`predict` are imported at first use,
and ``convnext_mm.export.export`` writes an ONNX file. The commands in ``cli/`` call nothing else.
"""

import importlib
from typing import TYPE_CHECKING

from convnext_mm.registration import explain_missing, register_with_mmengine

if TYPE_CHECKING:
    from convnext_mm.archs import ARCHS, Arch
    from convnext_mm.backbone import ConvNeXt, ConvNeXtBlock
    from convnext_mm.neck import PooledNorm
    from convnext_mm.optim import LayerDecayOneCycleLR, LayerDecayOptimWrapperConstructor
    from convnext_mm.recipes import recipe
    from convnext_mm.roadmap import Roadmap
    from convnext_mm.weights.loading import ConvNeXtPretrained

__version__ = '0.1.0'

# The module of each name. It is imported when the name is first used.
_MODULES = {
    'ARCHS': 'archs',
    'Arch': 'archs',
    'ConvNeXt': 'backbone',
    'ConvNeXtBlock': 'backbone',
    'ConvNeXtPretrained': 'weights.loading',
    'LayerDecayOneCycleLR': 'optim',
    'LayerDecayOptimWrapperConstructor': 'optim',
    'PooledNorm': 'neck',
    'Roadmap': 'roadmap',
    'load': 'inference',
    'predict': 'inference',
    'recipe': 'recipes',
    'test': 'engine',
    'train': 'engine',
}

__all__ = [
    'ARCHS',
    'Arch',
    'ConvNeXt',
    'ConvNeXtBlock',
    'ConvNeXtPretrained',
    'LayerDecayOneCycleLR',
    'LayerDecayOptimWrapperConstructor',
    'PooledNorm',
    'Roadmap',
    'recipe',
]

register_with_mmengine()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        module = importlib.import_module(f'{__name__}.{_MODULES[name]}')
    except ModuleNotFoundError as error:
        raise explain_missing(error) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
