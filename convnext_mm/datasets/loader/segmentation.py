"""MMSegmentation's transforms, for lazy images and label maps."""

from __future__ import annotations

import cv2
import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets import transforms

from convnext_mm.datasets.loader.axis import Axis
from convnext_mm.datasets.loader.images import LazyResize, PackLazy
from convnext_mm.datasets.loader.lazy import LazyImage, LazyLabels
from convnext_mm.errors import UserError

_VALUES = np.arange(256, dtype=np.uint8)
# With reduce_zero_label, 0 and 255 become 255, the label that is ignored.
_REDUCED = np.array([255, *range(254), 255], np.uint8)


class LoadAnnotations(transforms.LoadAnnotations):
    """Load a lazy label map; its labels change by a table instead of one after the other."""

    def _load_seg_map(self, results: dict) -> None:
        path, reduce = results['seg_map_path'], results['reduce_zero_label']
        if self.reduce_zero_label not in (None, reduce):
            raise UserError(
                f'reduce_zero_label is {reduce} in the data set and {self.reduce_zero_label} in '
                'LoadAnnotations: set it in the data set only'
            )
        content = fileio.get(path, backend_args=self.backend_args)
        labels = mmcv.imfrombytes(content, flag='unchanged', backend=self.imdecode_backend)
        labels = labels.squeeze().astype(np.uint8)
        read = _REDUCED if reduce else _VALUES
        wanted = read.copy()
        for old, new in (results.get('label_map') or {}).items():
            wanted[read == old] = new
        labels = cv2.LUT(labels, wanted)
        if labels.ndim == 2:
            height, width = labels.shape
            labels = LazyLabels(labels, Axis.of(height), Axis.of(width))
        results['gt_seg_map'] = labels
        results['seg_fields'].append('gt_seg_map')


class Resize(LazyResize, transforms.Resize):
    """Resize a lazy image and its label map."""


class PhotoMetricDistortion(transforms.PhotoMetricDistortion):
    """The same distortion by tables of 256 values.

    The saturation and the hue change in one conversion to HSV and back instead of two.
    """

    def transform(self, results: dict) -> dict:
        # Each step draws its random numbers in MMSegmentation's order.
        first = self.brightness(_VALUES)
        last = _VALUES
        contrast_is_first = np.random.randint(2)
        if contrast_is_first:
            first = self.contrast(first)
        saturation, hue = self._saturations(), self._hues()
        if not contrast_is_first:
            last = self.contrast(last)

        pixels = results['img']
        if isinstance(pixels, LazyImage):
            pixels = pixels.read()
        if first is not _VALUES:
            pixels = cv2.LUT(pixels, first)
        if saturation is not _VALUES or hue is not _VALUES:
            tables = np.stack([hue, saturation, _VALUES], axis=-1)[None]
            pixels = mmcv.hsv2bgr(cv2.LUT(mmcv.bgr2hsv(pixels), tables))
        if last is not _VALUES:
            pixels = cv2.LUT(pixels, last)
        results['img'] = pixels
        return results

    def _saturations(self) -> np.ndarray:
        if np.random.randint(2):
            factor = np.random.uniform(self.saturation_lower, self.saturation_upper)
            return self.convert(_VALUES, alpha=factor)
        return _VALUES

    def _hues(self) -> np.ndarray:
        if np.random.randint(2):
            shift = np.random.randint(-self.hue_delta, self.hue_delta)
            return ((_VALUES.astype(int) + shift) % 180).astype(np.uint8)
        return _VALUES


class PackSegInputs(PackLazy, transforms.PackSegInputs):
    """Read the lazy image and its label map."""

    def transform(self, results: dict) -> dict:
        if isinstance(results.get('gt_seg_map'), LazyLabels):
            results['gt_seg_map'] = results['gt_seg_map'].read()
        return super().transform(results)
