"""Convert a data set in another format to COCO annotations."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.files import SplitPaths
from convnext_mm.datasets.own.formats import problems
from convnext_mm.datasets.own.formats.source import Image, Mask, Object, Source


def to_coco(source: Source) -> dict[str, CocoAnnotations]:
    """Return the annotations of each split; a single one is split into two later.

    Classes have the ids from 1. Each object keeps the place where it was read, for messages.
    """
    splits = dict(source.splits)
    without = splits.pop('', [])
    if not splits:
        splits = {'train': without}
    elif without:
        names = (source.folder.place(image.path) for image in without)
        source.problem(problems.NOT_LISTED, *names, lists=f'the {source.format} annotations')
    if len(splits) == 1:
        splits = {'train': next(iter(splits.values()))}
    _check_fractions(source)
    labels = source.classes
    if labels is None:
        labels = sorted({obj.label for image in source.images for obj in image.objects})
    ids = {label: number for number, label in enumerate(labels, 1)}
    return {split: _annotations(source, images, ids) for split, images in splits.items()}


def _annotations(source: Source, images: list[Image], ids: dict[str, int]) -> CocoAnnotations:
    root = source.folder.root
    paths = SplitPaths(
        _common((image.path.parent for image in images), root),
        _common((image.file for image in images), root),
    )
    content = dict(
        info=dict(description=f'converted from {source.format}'),
        images=[],
        annotations=[],
        categories=[dict(id=number, name=label) for label, number in ids.items()],
    )
    for number, image in enumerate(images, 1):
        name = image.path.relative_to(paths.images).as_posix()
        width, height = image.size or (None, None)
        content['images'].append(dict(id=number, file_name=name, width=width, height=height))
        for obj in image.objects:
            entry = _entry(obj, ids[obj.label])
            entry |= dict(id=len(content['annotations']) + 1, image_id=number)
            content['annotations'].append(entry)
    return CocoAnnotations(
        paths, content, repaired=True, is_complete=source.is_complete, is_converted=True
    )


def _entry(obj: Object, category: int) -> dict:
    entry = dict(category_id=category, iscrowd=int(obj.crowd), place=obj.place)
    if obj.box is not None:
        entry['bbox'] = list(obj.box)
    if obj.mask is not None:
        entry['segmentation'] = obj.mask
    return entry


def _check_fractions(source: Source) -> None:
    """Refuse masks in fractions of the image; a check of COCO annotations refuses such boxes."""
    objects = [obj for image in source.images for obj in image.objects]
    if objects and all(obj.box is None and _reach(obj.mask) <= 1 for obj in objects):
        places = (obj.place for obj in objects)
        source.problem(problems.FRACTIONS, *places, format=source.format)


def _reach(mask: Mask | None) -> float:
    """Return the largest coordinate of a mask of polygons."""
    if not isinstance(mask, list):
        return math.inf
    return max((value for polygon in mask for value in polygon), default=0)


def _common(paths: Iterable[Path], otherwise: Path) -> Path:
    """Return the folder, or file, that all paths share."""
    distinct = {*paths}
    return Path(os.path.commonpath(distinct)) if distinct else otherwise
