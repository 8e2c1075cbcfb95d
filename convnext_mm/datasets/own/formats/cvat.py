"""CVAT: one XML of the format "CVAT for images 1.1".

::

    annotations.xml   images/a.jpg

CVAT's exports in COCO, YOLO and Pascal VOC are those formats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from convnext_mm.datasets.own.files import split_of, split_of_folder
from convnext_mm.datasets.own.formats import problems, shapes
from convnext_mm.datasets.own.formats.groups import Part, grouped
from convnext_mm.datasets.own.formats.source import (
    Folder,
    Image,
    Object,
    Size,
    Source,
    head,
    number,
)

NAME = 'CVAT'
_AREAS = ('box', 'polygon', 'mask', 'ellipse')
_NO_AREA = ('points', 'polyline', 'cuboid', 'skeleton')
_CROWD = ('is_crowd', 'iscrowd', 'difficult')
_MOST_PIXELS = 10**9  # of a mask
_EXPECTED = 'the numbers of a box, polygon, ellipse or mask in pixels'


def finds(folder: Folder) -> bool:
    """Tell whether the folder, or the file, is in this format."""
    return bool(_files(folder))


def read(folder: Folder) -> Source:
    """Read all XML files in this format."""
    source = Source(folder, NAME)
    labels: dict[str, None] = {}
    for file in _files(folder):
        root = source.xml(file)
        if root is None:
            continue
        if root.find('track') is not None:
            source.unreadable(file, ValueError('it is for a video: export "CVAT for images 1.1"'))
            continue
        labels.update(dict.fromkeys(_declared(root)))
        for node in root.iterfind('image'):
            _add_image(source, file, node)
    if labels:
        labels.update({obj.label: None for image in source.images for obj in image.objects})
        source.classes = [*labels]
    return source


def _files(folder: Folder) -> list[Path]:
    files = [path for path in folder.with_suffix('.xml') if os.path.isfile(path)]
    return [path for path in files if re.search(r'<annotations[\s>]', head(path))]


def _declared(root: Element) -> Iterator[str]:
    """Yield the labels that areas can have; the labels of points and lines are no classes."""
    for node in root.iterfind('meta//labels/label'):
        name, kind = node.findtext('name') or '', node.findtext('type')
        if name.strip() and kind not in (*_NO_AREA, 'tag') and node.find('parent') is None:
            yield name.strip()


def _add_image(source: Source, file: Path, node: Element) -> None:
    name = node.get('name') or ''
    place = f'{source.folder.place(file)} {name}'
    path = source.find(name, file, place)
    if not path:
        return
    try:
        width, height = (int(number(node.get(side))) for side in ('width', 'height'))
        size = (width, height) if width > 0 and height > 0 else None
    except ValueError:
        size = None
    image = Image(path, file, size)
    image.objects = [*grouped(source, _parts(source, node, place, size))]
    split = split_of(node.get('subset') or '') or split_of(file.stem)
    source.add(image, split or split_of_folder(file.parent, source.folder.root))


def _parts(source: Source, image: Element, place: str, size: Size | None) -> Iterator[Part]:
    for index, node in enumerate(image, 1):
        where = f'{place} {node.tag} {index}'
        label = (node.get('label') or '').strip()
        if node.tag in _NO_AREA:
            source.problem(problems.NO_SHAPE, where, kinds=', '.join(_NO_AREA))
        elif node.tag in _AREAS and not label:
            source.problem(problems.NO_CLASS, where, key='label')
        elif node.tag in _AREAS:
            try:
                obj = _object(source, node, label, where, size)
            except ValueError as error:
                text = f'{where}: {error}'
                source.problem(problems.WRONG_VALUES, text, expected=_EXPECTED)
                continue
            obj.crowd = any(
                attribute.get('name') in _CROWD and (attribute.text or '').lower() in ('true', '1')
                for attribute in node.iterfind('attribute')
            )
            if obj.crowd:
                source.problem(problems.DIFFICULT, where)
            group = node.get('group_id')
            yield Part(obj, None if group == '0' else group)


def _object(source: Source, node: Element, label: str, place: str, size: Size | None) -> Object:
    if node.tag == 'box':
        x1, y1, x2, y2 = (number(node.get(side)) for side in ('xtl', 'ytl', 'xbr', 'ybr'))
        box = x1, y1, x2 - x1, y2 - y1
        if turn := number(node.get('rotation') or '0'):
            source.problem(problems.ROTATED_BOXES, place)
            box = shapes.box_of_corners(shapes.rotated_box(*box, turn))
        return Object(label, place, box=box)
    if node.tag == 'ellipse':
        values = [number(node.get(key)) for key in ('cx', 'cy', 'rx', 'ry')]
        turn = number(node.get('rotation') or '0')
        return Object(label, place, mask=[shapes.ellipse(*values, np.radians(turn))])
    if node.tag == 'mask':
        return Object(label, place, mask=_mask(node, size))
    points = [point.split(',') for point in (node.get('points') or '').split(';')]
    polygon = [number(value) for point in points for value in point]
    if len(polygon) < 6 or any(len(point) != 2 for point in points):
        raise ValueError('a polygon needs 3 points x,y or more')
    return Object(label, place, mask=[polygon])


def _mask(node: Element, size: Size | None) -> dict:
    """Return the mask whose runs of 0 and 1 go along the rows of its box."""
    if size is None:
        raise ValueError('the image of a mask has no width and height')
    left, top, width, height = (
        int(number(node.get(key))) for key in ('left', 'top', 'width', 'height')
    )
    runs = [int(run) for run in (node.get('rle') or '').split(',')]
    pixels = width * height
    if min(width, height, *runs) < 0 or sum(runs) != pixels or pixels > _MOST_PIXELS:
        raise ValueError(f'the runs of the mask do not fill {width}x{height} pixels')
    bitmap = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return shapes.encoded(bitmap, left, top, size)
