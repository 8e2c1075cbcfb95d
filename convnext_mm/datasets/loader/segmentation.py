"""MMSegmentation's transforms, for lazy images and label maps."""

from __future__ import annotations

import cv2
import mmcv
import numpy as np
from mmseg.datasets import transforms

from convnext_mm.datasets.loader.axis import Axis
from convnext_mm.datasets.loader.images import LazyResize, PackLazy
from convnext_mm.datasets.loader.lazy import LazyImage, LazyLabels

_VALUES = np.arange(256, dtype=np.uint8)


class LoadAnnotations(transforms.LoadAnnotations):
    """Load a lazy label map."""

    def _load_seg_map(self, results: dict) -> None:
        super()._load_seg_map(results)
        labels = results['gt_seg_map']
        if labels.ndim == 2:
            height, width = labels.shape
            results['gt_seg_map'] = LazyLabels(labels, Axis.of(height), Axis.of(width))


class Resize(LazyResize, transforms.Resize):
    """Resize a lazy image and its label map."""


class PhotoMetricDistortion(transforms.PhotoMetricDistortion):
    """The same distortion with tables of 256 values instead of arithmetic on the pixels."""

    def transform(self, results: dict) -> dict:
        if isinstance(results['img'], LazyImage):
            results['img'] = results['img'].read()
        return super().transform(results)

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        return cv2.LUT(img, super().convert(_VALUES, alpha, beta))

    def saturation(self, img: np.ndarray) -> np.ndarray:
        if np.random.randint(2):
            factor = np.random.uniform(self.saturation_lower, self.saturation_upper)
            return _change_hsv(img, 1, super().convert(_VALUES, alpha=factor))
        return img

    def hue(self, img: np.ndarray) -> np.ndarray:
        if np.random.randint(2):
            shift = np.random.randint(-self.hue_delta, self.hue_delta)
            return _change_hsv(img, 0, ((_VALUES.astype(int) + shift) % 180).astype(np.uint8))
        return img


def _change_hsv(image: np.ndarray, channel: int, values: np.ndarray) -> np.ndarray:
    """Return an image, (H, W, 3) uint8 BGR, with new values of hue (0) or saturation (1)."""
    tables = np.repeat(_VALUES[None, :, None], 3, axis=2)
    tables[..., channel] = values
    return mmcv.hsv2bgr(cv2.LUT(mmcv.bgr2hsv(image), tables))


class PackSegInputs(PackLazy, transforms.PackSegInputs):
    """Read the lazy image and its label map."""

    def transform(self, results: dict) -> dict:
        if isinstance(results.get('gt_seg_map'), LazyLabels):
            results['gt_seg_map'] = results['gt_seg_map'].read()
        return super().transform(results)
