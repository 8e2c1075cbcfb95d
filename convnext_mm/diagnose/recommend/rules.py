"""The rules by which a recipe is recommended: one table, and a few settings that follow the data.

The memory that a recipe needs is an estimate. It was not measured, because there was no GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Needs:
    """What the rules ask about a data set and a machine.

    Attributes:
        kind: ``coco`` for objects, ``maps`` for label maps.
        images: The number of training images with labels.
        gpu_gb: The memory of the GPU in GB; 0 without a GPU.
        object_px: The median size of the objects, the square root of the area of the box, in images
            that are resized to 320 px; None for label maps.
        image_px: The median length of the longer side of the images.
    """

    kind: str
    images: int
    gpu_gb: float
    object_px: float | None = None
    image_px: float = 640


@dataclass(frozen=True)
class Rule:
    """A recipe, and when it fits.

    Attributes:
        kind: ``coco`` or ``maps``.
        gpu_gb: The memory that the GPU must have at least, in GB; 0 if a CPU is enough.
        images: The number of training images from which on the recipe is worth its time.
        recipe: Its path below ``configs``, without ``.py``.
        because: The reason for the recipe, for a person.
        objects_below_px, images_below_px: The recipe is for objects, or images, below this size,
            as in :class:`Needs`.
        options: Settings for ``--cfg-options``.
        accumulate: Whether the recipe is for a batch of several GPUs, which ``--accumulate`` keeps.
    """

    kind: str
    gpu_gb: float
    images: int
    recipe: str
    because: str
    objects_below_px: float = math.inf
    images_below_px: float = math.inf
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    accumulate: bool = False

    def fits(self, needs: Needs) -> bool:
        """Return whether the recipe fits a data set and a machine."""
        return (
            self.kind == needs.kind
            and self.gpu_gb <= needs.gpu_gb
            and self.images <= needs.images
            and (needs.object_px or 0) < self.objects_below_px
            and needs.image_px < self.images_below_px
        )


_FROM_COCO = 'a detector that knows COCO needs fewer images and steps than one from scratch'
_FROM_ADE20K = 'a segmentor that knows ADE20K needs fewer images than one from scratch'

PHOTOS = 'cascade/convnext_v2_atto_photos'
_SMALL_OBJECTS = 24  # px: they cover less than half of the smallest anchor, which has 32 px

# The first rule that fits is taken. The last ones of a kind fit everything.
RULES = (
    Rule(
        *('coco', 40, 50_000, 'cascade/convnext_b_in22k_coco'),
        because="as many images as COCO has: the authors' own schedule, from ImageNet-22K weights",
        accumulate=True,
    ),
    Rule(
        *('coco', 40, 5_000, 'cascade/convnext_b_in22k_coco'),
        because=f'enough images and memory for a larger model; {_FROM_COCO}',
        options={
            'load_from': 'cascade_mask_rcnn_convnext_base_in22k_coco',
            'train_cfg.max_epochs': 12,
        },
        accumulate=True,
    ),
    Rule(
        *('coco', 16, 500, 'cascade/convnext_t_finetune'),
        because=f'enough images for the more exact boxes of a cascade; {_FROM_COCO}',
    ),
    Rule(
        *('coco', 12, 0, 'mask_rcnn/convnext_t_finetune'),
        because=f'the smallest published detector; {_FROM_COCO}',
    ),
    Rule(
        *('coco', 8, 0, 'mask_rcnn/convnext_t_finetune'),
        because=f'the smallest published detector, 2 images at a time to save memory; {_FROM_COCO}',
        options={'train_dataloader.batch_size': 2},
        accumulate=True,
    ),
    Rule(
        *('coco', 0, 0, 'cascade/convnext_atto_nuclei'),
        because='a small model that trains on a CPU, for small objects in small images without up '
        'and down, as under a microscope',
        objects_below_px=_SMALL_OBJECTS,
        images_below_px=400,
    ),
    Rule(
        *('coco', 0, 0, PHOTOS),
        because='a small model that trains on a CPU; images twice as large, for small objects',
        objects_below_px=_SMALL_OBJECTS,
        options={
            'train_dataloader.dataset.pipeline.0.transforms.2.scale': [(512, 512), (832, 832)],
            'val_dataloader.dataset.pipeline.1.scale': (640, 640),
            'test_dataloader.dataset.pipeline.1.scale': (640, 640),
        },
    ),
    Rule(
        *('coco', 0, 0, PHOTOS),
        because='a small model that trains on a CPU',
    ),
    Rule(
        *('maps', 24, 2_000, 'upernet/convnext_b_in22k_ade20k'),
        because=f'enough images and memory for a larger model; {_FROM_ADE20K}',
        options={'load_from': 'upernet_convnext_base_in22k_ade20k'},
        accumulate=True,
    ),
    Rule(
        *('maps', 8, 0, 'upernet/convnext_t_ade20k'),
        because=f'the smallest published segmentor; {_FROM_ADE20K}',
        options={'load_from': 'upernet_convnext_tiny_ade20k'},
        accumulate=True,
    ),
    Rule(
        *('maps', 0, 0, 'upernet/convnext_t_ade20k'),
        because=f'no recipe is small enough for a CPU, so this takes long; {_FROM_ADE20K}',
        options={'load_from': 'upernet_convnext_tiny_ade20k'},
    ),
)

# The recipe for photographs counts steps: 20 times through the images, within these limits.
_PASSES, _BATCH = 20, 4
_LEAST_STEPS, _MOST_STEPS = 2_000, 20_000


def choose(needs: Needs) -> Rule:
    """Return the first rule that fits, with the length of its schedule."""
    rule = next(rule for rule in RULES if rule.fits(needs))
    if rule.recipe != PHOTOS:
        return rule
    steps = round(_PASSES * needs.images / _BATCH, -2)
    steps = min(_MOST_STEPS, max(_LEAST_STEPS, steps))
    length = {} if steps == _LEAST_STEPS else {'train_cfg.max_iters': steps}
    because = f'{rule.because}; {_LEAST_STEPS:,} steps, or {_PASSES} times through the images'
    return replace(rule, because=because, options={**rule.options, **length})
