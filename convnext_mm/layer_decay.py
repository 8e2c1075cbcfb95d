"""The layer ids and learning rate factors of layer-wise learning rate decay.

Each parameter has a layer id, from 0 (the stem) to N + 1 (output norms, neck and heads). Its
learning rate is ``decay_rate ** (N + 1 - id)`` times the base learning rate.

=======================  ====================  ==========
parameter                layer_wise            stage_wise
=======================  ====================  ==========
downsample_layers.0      0                     0
stages.0                 1                     1
downsample_layers.1      2                     0
stages.1                 2                     2
downsample_layers.2      3                     0
stages.2.b               3 + b // 3            3
downsample_layers.3      N                     0
stages.3                 N                     4
norm0 .. norm3           N + 1                 N + 1
=======================  ====================  ==========

Three consecutive blocks b of the third stage share an id. So N depends on the number of blocks: it
is 6 for 9 blocks and 12 for 27. As in the authors' code, ``stage_wise`` gives the downsampling
layers id 0 and the heads N + 1. The ids between the last stage and the heads are then not used.
The networks of :mod:`convnext_mm.roadmap` have the same names up to the block, and so the same ids.

Source: facebookresearch/ConvNeXt, ``layer_decay_optimizer_constructor.py`` in
``object_detection/mmcv_custom`` and in ``semantic_segmentation/mmcv_custom``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from convnext_mm.errors import SettingError

DECAY_TYPES = ('layer_wise', 'stage_wise')
_BLOCKS_PER_ID = 3
_PARAMETER = re.compile(
    r'(?P<kind>downsample_layers|stages)\.(?P<stage>[0-3])\.(?P<block>\d+)\.|norm[0-3]\.'
)


def num_layers(depths: Sequence[int]) -> int:
    """Return N; the last block of the third stage has the layer id N - 1.

    Args:
        depths: Number of blocks in each of the four stages.
    """
    return 4 + (depths[2] - 1) // _BLOCKS_PER_ID


def layer_id(name: str, depths: Sequence[int], decay_type: str) -> int:
    """Return the layer id of a backbone parameter, 0 to N + 1.

    Args:
        name: The parameter name within the backbone, such as ``stages.2.7.pwconv1.weight``.
        depths: Number of blocks in each of the four stages.
        decay_type: One of :data:`DECAY_TYPES`.

    Raises:
        ValueError: The name is not the name of a ConvNeXt parameter.
        SettingError: The decay type is unknown.
    """
    if decay_type not in DECAY_TYPES:
        raise SettingError(
            f'decay_type={decay_type!r} is unknown; allowed: {", ".join(DECAY_TYPES)}'
        )
    match = _PARAMETER.match(name)
    if match is None:
        raise ValueError(f'{name!r} is not a parameter of a ConvNeXt backbone')
    n = num_layers(depths)
    if match['kind'] is None:
        return n + 1
    stage, downsample = int(match['stage']), match['kind'] == 'downsample_layers'
    if decay_type == 'stage_wise':
        return 0 if downsample else stage + 1
    if stage == 0:
        return 0 if downsample else 1
    if stage == 2:
        return 3 if downsample else 3 + int(match['block']) // _BLOCKS_PER_ID
    return 2 if stage == 1 else n


def lr_scale(layer: int, n: int, decay_rate: float) -> float:
    """Return the learning rate factor of a layer id; 1 for the heads, whose id is n + 1."""
    return decay_rate ** (n + 1 - layer)
