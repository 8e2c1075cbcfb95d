"""Labelme: one JSON an image.

::

    a.json         a.jpg
    train/a.json   train/a.jpg

Folders that are named after a split are the splits. Shapes of one label and ``group_id`` are parts
of one object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from convnext_mm.datasets.own.files import split_of_folder
from convnext_mm.datasets.own.formats import problems, shapes
from convnext_mm.datasets.own.formats.groups import Part, grouped
from convnext_mm.datasets.own.formats.source import (
    Coordinate,
    Folder,
    Image,
    Object,
    Size,
    Source,
    head,
)
from convnext_mm.messages.wording import shown

NAME = 'Labelme'
_SHAPES = re.compile(r'"shapes"\s*:\s*\[')
_SAMPLE = 20  # JSON files of which one must be of this format
_NO_AREA = ('point', 'points', 'line', 'linestrip')
_NO_OBJECTS = ('__ignore__', '_background_')
_EXPECTED = 'a polygon of 3 points or more, or a rectangle, circle or mask with its 2 points'


class Shape(Struct):
    """A shape; a mask has the corners of its bitmap as points."""

    label: str
    points: list[list[Coordinate]] = []
    shape_type: str | None = None
    group_id: int | str | None = None
    mask: str | None = None


class File(Struct):
    """The JSON of an image; the image that it may hold is not read."""

    shapes: list[Shape]
    imagePath: str | None = None
    imageWidth: int | None = None
    imageHeight: int | None = None


def finds(folder: Folder) -> bool:
    """Tell whether the folder has JSON files in this format."""
    return not folder.file and any(map(is_labelme, folder.with_suffix('.json')[:_SAMPLE]))


def is_labelme(path: Path) -> bool:
    """Tell whether a JSON is from Labelme."""
    return bool(_SHAPES.search(head(path)))


def read(folder: Folder) -> Source:
    """Read all JSON files."""
    source = Source(folder, NAME)
    for file in folder.with_suffix('.json'):
        content = source.json(file, File)
        if content is None:
            continue
        if path := _image_path(source, file, content):
            size = (content.imageWidth, content.imageHeight)
            image = Image(path, file, size if all(side and side > 0 for side in size) else None)
            if image.size is None and any(shape.mask for shape in content.shapes):
                image.size = source.sizes([path]).get(path)
            image.objects = [*grouped(source, _parts(source, file, content, image.size))]
            source.add(image, split_of_folder(file.parent, folder.root))
    source.report_others(folder.with_suffix('.json'))
    return source


def _image_path(source: Source, file: Path, content: File) -> Path | None:
    """Return the image that the JSON names, or the one with the name of the JSON beside it."""
    named = content.imagePath or ''
    found = source.folder.find(named, file.parent)
    beside = [path for path in source.folder.with_stem(file.stem) if path.parent == file.parent]
    if not found or (found[0].parent != file.parent and beside):
        found = beside or found
    return source.single(found, f'{source.folder.place(file)}: {named}')


def _parts(source: Source, file: Path, content: File, size: Size | None) -> Iterator[Part]:
    for index, shape in enumerate(content.shapes, 1):
        place = f'{source.folder.place(file)} shape {index}'
        kind = shape.shape_type or 'polygon'
        if kind in _NO_AREA:
            source.problem(problems.NO_SHAPE, place, kinds=', '.join(_NO_AREA))
        elif shape.label in _NO_OBJECTS:
            source.problem(problems.NOT_OBJECTS, place)
        elif not shape.label.strip():
            source.problem(problems.NO_CLASS, place, key='label')
        else:
            try:
                yield Part(_object(shape, kind, place, size), shape.group_id)
            except ValueError as error:
                text = f'{place}: {error}'
                source.problem(problems.WRONG_VALUES, text, expected=_EXPECTED)


def _object(shape: Shape, kind: str, place: str, size: Size | None) -> Object:
    label, points = shape.label.strip(), shape.points
    least = 3 if kind == 'polygon' else 2
    if len(points) < least or any(len(point) < 2 for point in points):
        raise ValueError(f'{kind} of {shown(points)}')
    if kind == 'polygon':
        return Object(label, place, mask=[shapes.flat(points)])
    if kind == 'rectangle':
        return Object(label, place, box=shapes.box_of_corners([point[:2] for point in points]))
    (x1, y1), (x2, y2) = (point[:2] for point in points[:2])
    if kind == 'circle':  # its centre, and a point on it
        radius = math.dist((x1, y1), (x2, y2))
        return Object(label, place, mask=[shapes.ellipse(x1, y1, radius, radius)])
    if kind == 'mask' and size:
        bitmap = shapes.unpacked(shape.mask or '')
        left, top = round(min(x1, x2)), round(min(y1, y2))
        return Object(label, place, mask=shapes.encoded(bitmap, left, top, size))
    raise ValueError(f'shape_type is {shown(kind)}')
