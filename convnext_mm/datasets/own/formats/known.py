"""The formats that are read beside COCO, in the order in which they are looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convnext_mm.datasets.own.formats import cvat, labelme, supervisely, via, voc, yolo
from convnext_mm.datasets.own.formats.source import Folder, Source


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Attributes:
        name: Its name.
        finds: Tells whether a folder is in this format, by the names and the begin of its files.
        read: Reads the annotations. It records mistakes in the files as problems of the source.
    """

    name: str
    finds: Callable[[Folder], bool]
    read: Callable[[Folder], Source]


FORMATS = tuple(
    Format(module.NAME, module.finds, module.read)
    for module in (supervisely, via, labelme, cvat, voc, yolo)
)
