"""MMDetection's transforms, for lazy images and for masks in the coordinates of the file."""

from __future__ import annotations

import numpy as np
from mmdet.datasets import transforms
from mmdet.structures.bbox import HorizontalBoxes

from convnext_mm.datasets.loader.axis import Axis
from convnext_mm.datasets.loader.images import LazyResize, PackLazy
from convnext_mm.datasets.loader.masks import SourceMask, SourceMasks


class LoadAnnotations(transforms.LoadAnnotations):
    """Keep polygons and RLEs instead of bitmaps."""

    def _load_masks(self, results: dict) -> None:
        if not self.poly2mask:
            return super()._load_masks(results)
        height, width = size = results['ori_shape']
        # MMDetection's rules: an object with an invalid mask is ignored.
        found = [SourceMask(annotation, size) for annotation in self._process_masks(results)]
        results['gt_masks'] = SourceMasks(found, Axis.of(height), Axis.of(width))
        return None


class Resize(LazyResize, transforms.Resize):
    """Resize a lazy image."""

    def _resize_bboxes(self, results: dict) -> None:
        boxes = results.get('gt_bboxes')
        if type(boxes) is not HorizontalBoxes:
            return super()._resize_bboxes(results)
        # The same arithmetic on NumPy's view of the tensor: a call of torch takes ten times as long
        # as so few numbers need.
        values = boxes.tensor.numpy()
        values *= np.tile(np.float32(results['scale_factor']), 2)
        if self.clip_object_border:
            height, width = results['img_shape']
            np.clip(values, 0, np.float32([width, height, width, height]), out=values)
        return None


class PackDetInputs(PackLazy, transforms.PackDetInputs):
    """Read the lazy image, and pack the masks as they are."""
