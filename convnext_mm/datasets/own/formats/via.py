"""VIA, the VGG Image Annotator 2: one JSON, a project or an export, or one CSV.

::

    via_project.json   images/a.jpg
    train/via_export_json.json   train/a.jpg
    via_export_csv.csv   a.jpg

The name of the file, or of its folder, may say the split. The class of a region is one of its
attributes.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from convnext_mm.datasets.own.files import split_of, split_of_folder
from convnext_mm.datasets.own.formats import problems, shapes
from convnext_mm.datasets.own.formats.source import (
    Coordinate,
    Folder,
    Image,
    Object,
    Source,
    convert,
    head,
)
from convnext_mm.messages.wording import listed, shown

NAME = 'VIA'
ONLY_CLASS = 'object'
# If several attributes are filled equally often, the class is the first of these.
_KEYS = ('class', 'label', 'category', 'name', 'type', 'object', 'species')
_COLUMNS = ('filename', 'region_shape_attributes', 'region_attributes')
_CELLS = ('shape_attributes', 'region_attributes')
_IMAGE = re.compile(r'\{\s*"[^"]*"\s*:\s*\{\s*("fileref"[^{]*)?"filename"')


class Rect(Struct, tag_field='name', tag='rect'):
    """A box."""

    x: Coordinate
    y: Coordinate
    width: Coordinate
    height: Coordinate


class Circle(Struct, tag_field='name', tag='circle'):
    """A circle."""

    cx: Coordinate
    cy: Coordinate
    r: Coordinate


class Ellipse(Struct, tag_field='name', tag='ellipse'):
    """An ellipse; theta is in radians."""

    cx: Coordinate
    cy: Coordinate
    rx: Coordinate
    ry: Coordinate
    theta: Coordinate = 0


class Polygon(Struct, tag_field='name', tag='polygon'):
    """A polygon."""

    all_points_x: list[Coordinate]
    all_points_y: list[Coordinate]


class Region(Struct):
    """An annotated region; it is read as one of the shapes above, or left out."""

    shape_attributes: dict[str, Any] = field(default_factory=dict)
    region_attributes: dict[str, Any] = field(default_factory=dict)


class Entry(Struct):
    """An image with its regions; VIA 1 has a dict of regions."""

    filename: str
    regions: list[Region] | dict[str, Region] = field(default_factory=list)


Shape = Rect | Circle | Ellipse | Polygon
_NO_AREA = ('point', 'polyline', 'line')


@dataclass
class _Found:
    """A region whose class is not chosen yet."""

    obj: Object
    attributes: dict[str, str | list[str]]


def finds(folder: Folder) -> bool:
    """Tell whether the folder, or the file, is in this format."""
    return bool(_files(folder))


def read(folder: Folder) -> Source:
    """Read all files in this format."""
    source = Source(folder, NAME)
    regions: list[_Found] = []
    options: dict[str, dict[str, str]] = {}
    files = _files(folder)
    projects = [path for path in files if '_via_img_metadata' in head(path)]
    for file in projects or files:
        split = split_of(file.stem) or split_of_folder(file.parent, folder.root)
        entries = _csv(source, file) if file.suffix.lower() == '.csv' else _json(source, file)
        for place, entry, names in entries:
            options.update(names)
            if path := source.find(entry.filename, file, place):
                image = Image(path, file)
                if not source.add(image, split):
                    continue
                for found in _objects(source, entry, place):
                    image.objects.append(found.obj)
                    regions.append(found)
    _choose_classes(source, regions, options)
    for image in source.images:
        image.objects = [obj for obj in image.objects if obj.label]
    return source


def _files(folder: Folder) -> list[Path]:
    jsons = [path for path in folder.with_suffix('.json') if _is_via(head(path))]
    csvs = [path for path in folder.with_suffix('.csv') if _is_csv(head(path))]
    return jsons or csvs


def _is_via(text: str) -> bool:
    return '"_via_settings"' in text or bool(_IMAGE.match(text.strip('\ufeff \n\r\t')))


def _is_csv(text: str) -> bool:
    return all(column in text.partition('\n')[0] for column in _COLUMNS)


# --- the files


def _json(source: Source, file: Path) -> Iterator[tuple[str, Entry, dict]]:
    content = source.json(file, dict[str, Any])
    if content is None:
        return
    options = {}
    if '_via_img_metadata' in content:
        options = _options(content.get('_via_attributes'))
        content = content['_via_img_metadata']
        if not isinstance(content, dict):
            source.unreadable(file, ValueError(f'"_via_img_metadata" is {shown(content)}'))
            return
    for key, value in content.items():
        place = f'{source.folder.place(file)} {shown(key)}'
        try:
            entry = convert(value, Entry)
        except (msgspec.ValidationError, RecursionError) as error:
            source.problem(problems.UNREADABLE, f'{place}: {error}')
            continue
        yield f'{source.folder.place(file)} {entry.filename}', entry, options


def _options(attributes: object) -> dict[str, dict[str, str]]:
    """Return the choices of each attribute, as {attribute: {value: description}}."""
    regions = attributes.get('region') if isinstance(attributes, dict) else None
    found = {}
    for key, settings in regions.items() if isinstance(regions, dict) else ():
        options = settings.get('options') if isinstance(settings, dict) else None
        if isinstance(options, dict):
            found[key] = {value: text for value, text in options.items() if isinstance(text, str)}
    return found


def _csv(source: Source, file: Path) -> Iterator[tuple[str, Entry, dict]]:
    text = source.text(file)
    if text is None:
        return
    entries: dict[str, Entry] = {}
    rows = csv.DictReader(io.StringIO(text.lstrip('#'), newline=''))
    try:
        for row in rows:
            place = f'{source.folder.place(file)} line {rows.line_num}'
            name = row.get('filename') or ''
            try:
                cells = (msgspec.json.decode(row[key] or '{}') for key in _COLUMNS[1:])
                region = convert(dict(zip(_CELLS, cells)), Region)
            except (msgspec.DecodeError, RecursionError, KeyError) as error:
                source.problem(problems.UNREADABLE, f'{place}: {error}')
                continue
            entry = entries.setdefault(name, Entry(name, []))
            if region.shape_attributes:
                entry.regions.append(region)
    except csv.Error as error:
        source.unreadable(file, error)
    for name, entry in entries.items():
        yield f'{source.folder.place(file)} {name}', entry, {}


# --- the regions


def _objects(source: Source, entry: Entry, place: str) -> Iterator[_Found]:
    regions = entry.regions.values() if isinstance(entry.regions, dict) else entry.regions
    for index, region in enumerate(regions, 1):
        where = f'{place} region {index}'
        kind = region.shape_attributes.get('name')
        if kind in _NO_AREA:
            source.problem(problems.NO_SHAPE, where, kinds=', '.join(_NO_AREA))
            continue
        try:
            obj = _object(convert(region.shape_attributes, Shape), where)
        except ValueError as error:
            expected = 'a rect, circle, ellipse or polygon with its numbers in pixels'
            source.problem(problems.WRONG_VALUES, f'{where}: {error}', expected=expected)
            continue
        yield _Found(obj, _attributes(region.region_attributes))


def _object(shape: Shape, place: str) -> Object:
    if isinstance(shape, Rect):
        return Object('', place, box=(shape.x, shape.y, shape.width, shape.height))
    if isinstance(shape, Polygon):
        if len(shape.all_points_x) != len(shape.all_points_y):
            raise ValueError('all_points_x and all_points_y have different lengths')
        points = zip(shape.all_points_x, shape.all_points_y)
        return Object('', place, mask=[shapes.flat(points)])
    if isinstance(shape, Circle):
        return Object('', place, mask=[shapes.ellipse(shape.cx, shape.cy, shape.r, shape.r)])
    outline = shapes.ellipse(shape.cx, shape.cy, shape.rx, shape.ry, shape.theta)
    return Object('', place, mask=[outline])


def _attributes(attributes: dict[str, Any]) -> dict[str, str | list[str]]:
    """Return the attributes with a value; a checkbox has {"cat": true, "dog": true}."""
    found: dict[str, str | list[str]] = {}
    for key, value in attributes.items():
        if isinstance(value, dict):
            chosen = [name for name, is_chosen in value.items() if is_chosen]
            value = chosen[0] if len(chosen) == 1 else chosen
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if value and isinstance(value, (str, list)):
            found[key] = value.strip() if isinstance(value, str) else value
    return {key: value for key, value in found.items() if value}


def _choose_classes(
    source: Source, regions: list[_Found], options: dict[str, dict[str, str]]
) -> None:
    """Give each region its class: the value of the attribute that most regions have."""
    counts = Counter(key for region in regions for key in region.attributes)
    if not counts:
        if regions:
            source.problem(problems.ONE_CLASS)
        for region in regions:
            region.obj.label = ONLY_CLASS
        return

    def rank(key: str) -> tuple[int, int]:
        name = key.strip().lower()
        return counts[key], -_KEYS.index(name) if name in _KEYS else -len(_KEYS)

    chosen = max(counts, key=rank)
    others = [key for key in counts if key != chosen]
    if others:
        source.problem(problems.CHOSEN_KEY, key=chosen, others=listed(others))
    texts = options.get(chosen, {})
    for region in regions:
        value = region.attributes.get(chosen)
        if isinstance(value, str):
            # The values of a list may be numbers, with the names as descriptions.
            region.obj.label = (texts.get(value) or value) if value.isdigit() else value
        else:
            problem = problems.SEVERAL_CLASSES if value else problems.NO_CLASS
            source.problem(problem, region.obj.place, key=chosen)
