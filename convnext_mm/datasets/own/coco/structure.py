"""The structure of a COCO JSON: the keys that training and evaluation read, with their types.

msgspec reads the file and checks every entry. A value of another type is converted if it can be
read in one way only: a width of "640" is 640. All other entries are errors. They are left out, so
that later checks can rely on the types. Other keys stay in a repaired copy as they are.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from convnext_mm.datasets.own.coco import problems
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations, place_of
from convnext_mm.datasets.own.files import SplitPaths
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding
from convnext_mm.messages.wording import shown

# Far outside of every image. Larger coordinates crash the C code of pycocotools.
_FAR = 1e6
_SPARE_LEVELS = 300  # of the stack, for a training, which reads the file from deeper calls
_LONGEST_NUMBER = 400  # digits; Python refuses integers of more than 4,300
# Characters that end a line or change its direction, other control characters, and halves of
# surrogate pairs.
_CONTROL = r'\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff'
# MMEngine substitutes {{ }} in each config that it reads.
_CLASS_NAME = rf'\A(?!\s*\Z)(?!.*\{{\{{)[^{_CONTROL}]+\Z'

Id = Annotated[int | str, Meta(description='an integer or text')]
_Side = Annotated[int, Meta(ge=1, le=2**31)]
Side = Annotated[_Side | None, Meta(description='a whole number of pixels above 0')]
Flag = Annotated[Annotated[int, Meta(ge=0, le=1)] | None, Meta(description='0 or 1')]
FileName = Annotated[str, Meta(min_length=1, description='the path of an image')]
ClassName = Annotated[
    Annotated[str, Meta(pattern=_CLASS_NAME, max_length=200)] | None,
    Meta(description='1 to 200 characters, no control characters and no "{{"'),
]
_Coordinate = Annotated[float, Meta(ge=-_FAR, le=_FAR)]
Box = Annotated[
    Annotated[list[_Coordinate], Meta(min_length=4, max_length=4)] | None,
    Meta(description=f'four numbers [x, y, width, height] in pixels, none beyond {_FAR:,.0f}'),
]
Polygon = Annotated[list[_Coordinate], Meta(min_length=6)]
Polygons = list[Polygon]


class Rle(Struct):
    """A run-length encoding; whether its counts fit its size is checked later."""

    size: Annotated[list[_Side], Meta(min_length=2, max_length=2)]
    counts: list[Annotated[int, Meta(ge=0)]] | str


# Polygons are checked one by one later.
Mask = Annotated[
    list | Rle | None,
    Meta(description='a list of polygons, or a run-length encoding {"size": ..., "counts": ...}'),
]


class Image(Struct):
    """An entry of ``images``."""

    id: Id
    file_name: FileName
    width: Side = None
    height: Side = None


class Object(Struct):
    """An entry of ``annotations``; later checks compute its ``id`` and ``area`` if they must."""

    image_id: Id
    category_id: Id
    bbox: Box = None
    segmentation: Mask = None
    iscrowd: Flag = None
    ignore: Flag = None


class Category(Struct):
    """An entry of ``categories``."""

    id: Id
    name: ClassName = None


_ENTRIES = {'images': Image, 'annotations': Object, 'categories': Category}
_ABSENT = object()


def read_coco_json(paths: SplitPaths) -> CocoAnnotations:
    """Read the JSON of a split; its entries are not checked.

    Raises:
        UserError: It is not JSON, or lacks one of the three lists of COCO annotations.
    """
    path, is_strict = paths.annotations, True
    data = path.read_bytes()
    try:
        with _decoding():
            try:
                content = msgspec.json.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                # Python also reads NaN, other encodings, and halves of surrogate pairs.
                content, is_strict = json.loads(data, parse_int=_integer), False
    except RecursionError as error:
        raise UserError(f'{path} is not readable as JSON: it is nested too deeply') from error
    except ValueError as error:
        raise UserError(f'{path} is not readable as JSON: {error}') from error
    for key in _ENTRIES:
        entries = content.get(key) if isinstance(content, dict) else content
        if not isinstance(content, dict) or not isinstance(entries, list):
            raise UserError(
                f'{path} is not a COCO JSON: expected an object with a list "{key}", '
                f'found {shown(entries)}'
            )
    return CocoAnnotations(paths, content, is_strict=is_strict)


def check_structure(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Check that the values of all entries have their types; convert some, leave out the others."""
    if not coco.is_strict:
        yield problems.NOT_STRICT.finding(split)
    for name, kind in _ENTRIES.items():
        entries, kept, no_objects = coco.content[name], [], []
        wrong, converted = defaultdict(list), defaultdict(list)
        for index, entry in enumerate(entries):
            if not _is_valid(entry, kind):
                if not isinstance(entry, dict):
                    no_objects.append(f'entry {index}: {shown(entry)}')
                    continue
                place = place_of(entry) or f'entry {index}'
                mistakes = list(_convert_values(entry, kind, place, converted))
                for key, example in mistakes:
                    wrong[key].append(example)
                if mistakes:
                    continue
            kept.append(entry)
        coco.is_complete &= len(kept) == len(entries)
        coco.content[name] = kept
        file = coco.paths.annotations
        yield from problems.NO_ENTRIES.cases(split, no_objects, entries=name, file=file)
        for field in msgspec.structs.fields(kind):
            told = dict(key=field.name, entries=name)
            yield from problems.CONVERTED.cases(split, converted[field.name], **told)
            told |= dict(file=file, expected=field.type.__metadata__[0].description)
            yield from problems.WRONG_VALUES.cases(split, wrong[field.name], **told)


def polygons_in(segmentation: list) -> list[list[float]]:
    """Return the polygons of a mask that have at least three points, none of them far away."""
    try:
        msgspec.convert(segmentation, Polygons)
        return [polygon for polygon in segmentation if len(polygon) % 2 == 0]
    except msgspec.ValidationError:
        return [p for p in segmentation if _is_valid(p, Polygon) and len(p) % 2 == 0]


@contextmanager
def _decoding() -> Iterator[None]:
    """Decode three times as fast, and refuse nesting that is too deep for a training."""
    was_enabled, limit = gc.isenabled(), sys.getrecursionlimit()
    gc.disable()  # Python would look for garbage among millions of new lists.
    try:
        sys.setrecursionlimit(limit - _SPARE_LEVELS)
        yield
    finally:
        sys.setrecursionlimit(limit)
        if was_enabled:
            gc.enable()


def _is_valid(value: object, kind: type) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeError):
        return False
    return True


def _convert_values(
    entry: dict, kind: type, name: str, converted: dict[str, list[str]]
) -> Iterator[tuple[str, str]]:
    """Convert the values of an entry that are not valid; yield key and value of the others."""
    for field in msgspec.structs.fields(kind):
        value = entry.get(field.name, _ABSENT)
        if value is _ABSENT:
            if field.required:
                yield field.name, f'{name}: absent'
        elif not _is_valid(value, field.type):
            try:
                entry[field.name] = new = _converted(value, field.type)
                converted[field.name].append(f'{name}: {shown(value)} to {shown(new)}')
            except (msgspec.ValidationError, UnicodeError):
                yield field.name, f'{name}: {shown(value)}'


def _converted(value: object, kind: type) -> object:
    """Convert a value to a type.

    Raises:
        ValidationError: It can be read in several ways, or in none.
    """
    if value in ('', {}, []) or (kind is Side and value == 0 and value is not False):
        value = None
    elif isinstance(value, bool) and kind is Flag:
        value = int(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and kind is ClassName:
        value = str(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.to_builtins(msgspec.convert(value, kind, strict=False))


def _integer(text: str) -> float:
    return int(text) if len(text) <= _LONGEST_NUMBER else float(text)
