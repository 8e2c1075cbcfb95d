"""Supervisely: a project with data sets, one JSON an image.

::

    meta.json   train/ann/a.jpg.json   train/img/a.jpg

Data sets that are named after a split are the splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from convnext_mm.datasets.own.files import split_of_folder
from convnext_mm.datasets.own.formats import problems, shapes
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

NAME = 'Supervisely'
_NO_AREA = ('point', 'line', 'cuboid', 'cuboid_3d', 'graph')
_EXPECTED = 'the points of a polygon or rectangle in pixels, or a bitmap with its origin'


class Class(Struct):
    """A class of the project."""

    title: str
    shape: str | None = None


class Meta(Struct):
    """The content of meta.json."""

    classes: list[Class]


class Points(Struct):
    """The outline of an object, and its holes."""

    exterior: list[list[Coordinate]] = []
    interior: list[list[list[Coordinate]]] = []


class Bitmap(Struct):
    """A packed mask and the place of its left upper corner."""

    data: str
    origin: list[int]


class Shape(Struct):
    """An object."""

    classTitle: str
    geometryType: str | None = None
    points: Points | None = None
    bitmap: Bitmap | None = None


class Sides(Struct):
    """The size of an image."""

    height: int
    width: int


class File(Struct):
    """The JSON of an image."""

    size: Sides
    objects: list[Shape] = []


def finds(folder: Folder) -> bool:
    """Tell whether the folder has a meta.json, and annotations in folders called ``ann``."""
    return not folder.file and bool(_files(folder)) and _meta(folder) is not None


def read(folder: Folder) -> Source:
    """Read all JSON files."""
    source = Source(folder, NAME)
    meta = source.json(_meta(folder), Meta)
    declared = {one.title: one.shape for one in meta.classes} if meta else {}
    source.classes = [*declared]
    for file in _files(folder):
        content = source.json(file, File)
        if content is None:
            continue
        if path := _image_path(source, file):
            size = content.size.width, content.size.height
            image = Image(path, file, size if min(size) > 0 else None)
            image.objects = [*_objects(source, file, content, image.size)]
            source.add(image, split_of_folder(file.parent, folder.root))
    used = {obj.label for image in source.images for obj in image.objects}
    source.classes = [t for t, shape in declared.items() if t in used or shape not in _NO_AREA]
    return source


def _meta(folder: Folder) -> Path | None:
    metas = [path for path in folder.with_suffix('.json') if path.name == 'meta.json']
    metas = [path for path in metas if '"classes"' in head(path)]
    return min(metas, key=lambda path: len(path.parts), default=None)


def _files(folder: Folder) -> list[Path]:
    return [path for path in folder.with_suffix('.json') if path.parent.name == 'ann']


def _image_path(source: Source, file: Path) -> Path | None:
    """Return ``img/a.jpg`` for ``ann/a.jpg.json``."""
    path = file.parent.with_name('img') / file.stem
    if os.path.isfile(path):
        return path
    return source.find(file.stem, file)


def _objects(source: Source, file: Path, content: File, size: Size | None) -> Iterator[Object]:
    for index, shape in enumerate(content.objects, 1):
        place = f'{source.folder.place(file)} object {index}'
        kind = shape.geometryType or ('bitmap' if shape.bitmap else 'polygon')
        if kind in _NO_AREA:
            source.problem(problems.NO_SHAPE, place, kinds=', '.join(_NO_AREA))
        elif shape.classTitle not in source.classes:
            text = f'{place}: {shown(shape.classTitle)}'
            source.problem(problems.UNDECLARED_CLASS, text, file='meta.json')
        else:
            try:
                yield _object(shape, kind, place, size)
            except ValueError as error:
                text = f'{place}: {error}'
                source.problem(problems.WRONG_VALUES, text, expected=_EXPECTED)


def _object(shape: Shape, kind: str, place: str, size: Size | None) -> Object:
    label = shape.classTitle
    points = shape.points or Points()
    if any(len(point) < 2 for part in [points.exterior, *points.interior] for point in part):
        raise ValueError('a point needs x and y')
    if kind == 'rectangle' and len(points.exterior) >= 2:
        return Object(label, place, box=shapes.box_of_corners(points.exterior))
    if kind == 'polygon' and len(points.exterior) >= 3:
        outlines = [points.exterior, *(hole for hole in points.interior if len(hole) >= 3)]
        return Object(label, place, mask=[shapes.joined([*map(shapes.flat, outlines)])])
    if kind == 'bitmap' and shape.bitmap and size and len(shape.bitmap.origin) == 2:
        bitmap = shapes.unpacked(shape.bitmap.data, packed=True)
        return Object(label, place, mask=shapes.encoded(bitmap, *shape.bitmap.origin, size))
    raise ValueError(f'{kind} of {shown(points.exterior)}')
