"""Run a training pipeline so that each image is read and resized once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import TRANSFORMS

from convnext_mm.datasets.loader.lazy import Lazy

_HERE = 'convnext_mm.datasets.loader'
_MMCV = 'mmcv.transforms'
_MMDET = 'mmdet.datasets.transforms'
_MMSEG = 'mmseg.datasets.transforms'
# The class that takes the place of a class.
_REPLACED = {
    f'{_MMCV}.loading.LoadImageFromFile': f'{_HERE}.images.LoadImage',
    f'{_MMDET}.loading.LoadAnnotations': f'{_HERE}.detection.LoadAnnotations',
    f'{_MMDET}.transforms.Resize': f'{_HERE}.detection.Resize',
    f'{_MMDET}.formatting.PackDetInputs': f'{_HERE}.detection.PackDetInputs',
    f'{_MMSEG}.loading.LoadAnnotations': f'{_HERE}.segmentation.LoadAnnotations',
    f'{_MMSEG}.transforms.Resize': f'{_HERE}.segmentation.Resize',
    f'{_MMSEG}.transforms.PhotoMetricDistortion': f'{_HERE}.segmentation.PhotoMetricDistortion',
    f'{_MMSEG}.formatting.PackSegInputs': f'{_HERE}.segmentation.PackSegInputs',
}
# They only slice and flip images, and ask for their shape.
_UNCHANGED = (
    *(f'{_MMCV}.processing.{name}' for name in ('RandomResize', 'RandomChoiceResize')),
    f'{_MMCV}.wrappers.RandomChoice',
    *(f'{_MMDET}.transforms.{name}' for name in ('RandomFlip', 'RandomCrop')),
    f'{_MMDET}.loading.FilterAnnotations',
    *(f'{_MMSEG}.transforms.{name}' for name in ('RandomFlip', 'RandomCrop')),
)
# They change the pixels of images and nothing else.
_OF_PIXELS = (f'{_MMDET}.transforms.PhotoMetricDistortion',)


class FastPipeline(BaseTransform):
    """Run the transforms of a training pipeline, and read and resize each image once.

    The transforms come from MMDetection or MMSegmentation. They draw the same random numbers
    and compute the same boxes, labels and bitmaps of masks. But while they resize, crop and flip,
    they only note down what becomes of the rows and columns of the image and its masks. The last
    one, or the first one that needs pixels, reads the part of the image that is left and resizes it
    once. Masks stay in the coordinates of the file.

    A transform that is not known here gets arrays, as from MMDetection or MMSegmentation itself.

    Args:
        transforms: The configs of the transforms.
        fast: False: run the transforms as they are.
    """

    def __init__(self, transforms: Sequence[dict | Callable], fast: bool = True) -> None:
        self.fast = fast
        self.transforms = Compose([_faster(t) for t in transforms] if fast else list(transforms))

    def __iter__(self) -> Iterator[Callable]:
        return iter(self.transforms)

    def transform(self, results: dict) -> dict | None:
        results = self.transforms(results)
        return results and with_arrays(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms}, fast={self.fast})'


class WithArrays(BaseTransform):
    """Run a transform that needs arrays.

    Args:
        transform: Its config, or the transform.
        masks: Whether it also needs bitmaps.
    """

    def __init__(self, transform: dict | Callable, masks: bool = True) -> None:
        self._run = transform if callable(transform) else TRANSFORMS.build(transform)
        self._masks = masks

    def transform(self, results: dict) -> dict | None:
        return self._run(with_arrays(results, self._masks))

    def __repr__(self) -> str:
        return repr(self._run)


def with_arrays(results: dict, masks: bool = True) -> dict:
    """Return the results of a pipeline with arrays instead of lazy images, labels and masks."""
    for key, value in results.items():
        if isinstance(value, Lazy):
            results[key] = value.read()
    # SourceMasks; its class needs MMDetection, which may be missing.
    if masks and hasattr(results.get('gt_masks'), 'objects'):
        results['gt_masks'] = results['gt_masks'].to_bitmap()
    return results


def _faster(transform: dict | Callable) -> dict | Callable:
    """Return the config of a transform that does the same with lazy images."""
    if not isinstance(transform, dict):
        return WithArrays(transform)
    name = _name_of_class(transform['type'])
    if name in _OF_PIXELS:
        return WithArrays(transform, masks=False)
    if name in _REPLACED:
        return dict(transform, type=_class(_REPLACED[name]))
    if name not in _UNCHANGED or transform.get('swap_seg_labels'):
        return WithArrays(transform)
    if name.endswith('.RandomChoice'):
        steps = [[_faster(step) for step in _steps(given)] for given in transform['transforms']]
        return dict(transform, transforms=steps)
    if name.endswith('Resize'):
        kind = _name_of_class(transform.get('resize_type', 'Resize'))
        if kind not in _REPLACED:
            return WithArrays(transform)
        return dict(transform, resize_type=_class(_REPLACED[kind]))
    return transform


def _steps(given: Any) -> Sequence:
    return given if isinstance(given, (list, tuple)) else [given]


def _name_of_class(kind: str | type) -> str:
    if isinstance(kind, str):
        with TRANSFORMS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return f'{kind.__module__}.{kind.__qualname__}' if kind else ''


def _class(path: str) -> type:
    module, _, name = path.rpartition('.')
    return getattr(importlib.import_module(module), name)
