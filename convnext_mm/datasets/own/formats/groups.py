"""Shapes that are parts of one object, as Labelme and CVAT group them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from convnext_mm.datasets.own.formats import problems, shapes
from convnext_mm.datasets.own.formats.source import Object, Source


@dataclass(frozen=True)
class Part:
    """A shape and the number of its group; no number means that it is an object of its own."""

    obj: Object
    group: int | str | None = None


def grouped(source: Source, parts: Iterable[Part]) -> Iterator[Object]:
    """Yield the objects of an image: shapes of one class and one group are one object."""
    groups: dict[tuple, list[Object]] = {}
    for index, part in enumerate(parts):
        # An index and a number of a group may be equal: the key tells them apart.
        alone = part.group in (None, '')
        key = (index,) if alone else (part.obj.label, part.group)
        groups.setdefault(key, []).append(part.obj)
    for objects in groups.values():
        first = objects[0]
        masks = [obj.mask for obj in objects if obj.mask is not None]
        mask = shapes.merged(masks) if len(masks) == len(objects) else None
        if len(objects) > 1 and mask is None:
            source.problem(problems.MIXED_GROUPS, first.place)
            yield from objects
        else:
            first.mask = mask
            first.crowd = any(obj.crowd for obj in objects)
            yield first
