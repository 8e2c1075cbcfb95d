"""The numbers of a data set: images, objects, their classes and sizes. They need no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convnext_mm.datasets.own.check import CheckedData
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.label_maps.classes import LabelClasses
from convnext_mm.datasets.own.label_maps.pairs import LabelMaps


@dataclass(frozen=True)
class Statistics:
    """The numbers of one split: N images, M objects.

    In label maps, the pixels of one class in one image stand for an object. Crowds are no objects.

    Attributes:
        classes: The K names of the classes.
        files: (N,) the image files.
        image_sizes: (N, 2) widths and heights in px; 0 if unknown.
        images: (M,) the position in `files` of the image of each object.
        labels: (M,) the position in `classes` of the class of each object.
        areas: (M,) in px: of the mask, or of the box where there is no mask.
        boxes: (M, 2) widths and heights of the boxes in px; (0, 2) for label maps.
        crowds: The number of groups of objects (``iscrowd``).
    """

    classes: tuple[str, ...]
    files: tuple[Path, ...]
    image_sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    crowds: int = 0

    @property
    def objects_by_class(self) -> np.ndarray:
        """(K,) the number of objects of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def images_by_class(self) -> np.ndarray:
        """(K,) the number of images that have objects of each class."""
        pairs = np.unique(np.stack([self.images, self.labels]), axis=1)
        return np.bincount(pairs[1], minlength=len(self.classes))

    @property
    def pixels_by_class(self) -> np.ndarray:
        """(K,) the area of all objects of each class."""
        return np.bincount(self.labels, self.areas, minlength=len(self.classes))

    @property
    def objects_by_image(self) -> np.ndarray:
        """(N,) the number of objects of each image."""
        return np.bincount(self.images, minlength=len(self.files))

    @property
    def empty_images(self) -> int:
        """The number of images without objects."""
        return int((self.objects_by_image == 0).sum())

    def resize_factors(self, scale: tuple[int, int]) -> np.ndarray:
        """Return the factors (N,) by which ``Resize(scale, keep_ratio=True)`` resizes each image.

        The longer side becomes at most the larger number of the scale, the shorter side at most the
        smaller number. An image of unknown size keeps its size.
        """
        known = np.where(self.image_sizes > 0, self.image_sizes, min(scale))
        by_long, by_short = max(scale) / known.max(1), min(scale) / known.min(1)
        return np.where((self.image_sizes > 0).all(1), np.minimum(by_long, by_short), 1.0)

    def object_sizes(self, scale: tuple[int, int] | None = None) -> np.ndarray:
        """Return the square roots (M,) of the areas in px, in the images or after a resize."""
        factors = self.resize_factors(scale)[self.images] if scale else 1.0
        return np.sqrt(self.areas) * factors


def statistics(checked: CheckedData) -> dict[str, Statistics]:
    """Return the numbers of each split; splits that are the same files are counted once."""
    found: dict[str, Statistics] = {}
    seen = []
    for split, content in checked.splits.items():
        if content.paths in seen:
            continue
        seen.append(content.paths)
        if isinstance(content, LabelMaps):
            found[split] = _of_label_maps(content, checked.labels)
        else:
            found[split] = _of_coco(content)
    return found


def _of_coco(coco: CocoAnnotations) -> Statistics:
    """Count the objects that have an image, a category and a box; a check reports the others."""
    images = coco.content['images']
    numbers = {image['id']: number for number, image in enumerate(images)}
    labels = {category['id']: label for label, category in enumerate(coco.content['categories'])}
    complete = [
        obj
        for obj in coco.content['annotations']
        if obj['image_id'] in numbers and obj['category_id'] in labels and obj.get('bbox')
    ]
    objects = [obj for obj in complete if not obj.get('iscrowd')]
    boxes = np.array([obj['bbox'][2:] for obj in objects], float).reshape(-1, 2)
    areas = np.array([obj.get('area') or 0 for obj in objects], float)
    sizes = [[image.get('width') or 0, image.get('height') or 0] for image in images]
    return Statistics(
        classes=tuple(coco.classes),
        files=tuple(coco.paths.images / image['file_name'] for image in images),
        image_sizes=np.array(sizes, float).reshape(-1, 2),
        images=np.array([numbers[obj['image_id']] for obj in objects], int),
        labels=np.array([labels[obj['category_id']] for obj in objects], int),
        areas=np.where(areas > 0, areas, boxes.prod(1).clip(0)),
        boxes=boxes,
        crowds=len(complete) - len(objects),
    )


def _of_label_maps(maps: LabelMaps, classes: LabelClasses) -> Statistics:
    contents = [maps.contents.get(stem) for stem in maps.stems]
    found = [
        (number, classes.ids.index(label_id), pixels)
        for number, content in enumerate(contents)
        for label_id, pixels in (content.pixels if content else {}).items()
        if label_id in classes.ids and label_id not in classes.ignored
    ]
    table = np.array(found, int).reshape(-1, 3)
    sizes = [content.size if content else (0, 0) for content in contents]
    return Statistics(
        classes=classes.names,
        files=tuple(map(maps.image, maps.stems)),
        image_sizes=np.array(sizes, float).reshape(-1, 2),
        images=table[:, 0],
        labels=table[:, 1],
        areas=table[:, 2].astype(float),
        boxes=np.zeros((0, 2)),
    )
