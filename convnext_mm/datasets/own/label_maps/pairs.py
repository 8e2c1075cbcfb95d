"""Pair images with their label maps, and read the ids in a label map."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from convnext_mm.datasets.image_files import UNREADABLE, first_line
from convnext_mm.datasets.own.recognise import Layout, SplitPaths, images_in
from convnext_mm.errors import UserError

_MAP_MODES = ('L', 'P', '1')  # of Pillow: one channel
_SAMPLE = 20  # images by whose names the ending of the label maps is found


@dataclass(frozen=True)
class LabelMaps:
    """The images and label maps of one split.

    An image and its label map have the same stem: the path below their folder, without its ending.

    Attributes:
        paths: Their folders.
        stems: The stems of the images, sorted.
        image_suffix: The ending of the images, such as ``.jpg``.
        map_suffix: The ending of the label maps, such as ``.png`` or ``_mask.png``.
    """

    paths: SplitPaths
    stems: list[str]
    image_suffix: str
    map_suffix: str

    @property
    def suffixes(self) -> tuple[str, str]:
        """The endings of images and label maps."""
        return self.image_suffix, self.map_suffix

    def image(self, stem: str) -> Path:
        """Return the path of an image."""
        return self.paths.images / f'{stem}{self.image_suffix}'

    def label_map(self, stem: str) -> Path:
        """Return the path where the label map of an image should be."""
        return self.paths.annotations / f'{stem}{self.map_suffix}'


@dataclass(frozen=True)
class MapContent:
    """The content of one label map: (width, height) and its ids, or why it cannot be read."""

    size: tuple[int, int] = (0, 0)
    ids: frozenset[int] = frozenset()
    error: str = ''


def read_label_maps(layout: Layout) -> dict[str, LabelMaps]:
    """Find the images and the endings of each split.

    Raises:
        UserError: A split has no images.
    """
    return {split: _find_pairs(paths) for split, paths in layout.splits.items()}


def read_map(path: Path) -> MapContent:
    """Read the size and the ids of a label map."""
    try:
        with Image.open(path) as image:
            if image.mode not in _MAP_MODES:
                return MapContent(error=f'mode {image.mode}: {len(image.getbands())} channels')
            # Pillow reads mode 1 as booleans; MMSegmentation reads it as 0 and 1.
            counts = np.bincount(np.asarray(image).astype(np.uint8).ravel(), minlength=256)
            return MapContent(image.size, frozenset(np.flatnonzero(counts).tolist()))
    except UNREADABLE as error:
        return MapContent(error=first_line(error))


def _find_pairs(paths: SplitPaths) -> LabelMaps:
    """Take the images with the most frequent ending, and find the ending of their label maps."""
    suffixes = Counter(path.suffix for path in images_in(paths.images))
    if not suffixes:
        raise UserError(f'{paths.images}: no images')
    suffix = suffixes.most_common(1)[0][0]
    stems = [
        str(path.relative_to(paths.images))[: -len(suffix)]
        for path in images_in(paths.images)
        if path.suffix == suffix
    ]
    pngs = {str(path.relative_to(paths.annotations)) for path in paths.annotations.rglob('*.png')}
    endings = Counter(
        png[len(stem) :] for stem in stems[:_SAMPLE] for png in pngs if png.startswith(stem)
    )
    # The shortest of the most frequent endings, because img1 is also the start of img10.
    ending = min(endings, key=lambda e: (-endings[e], len(e)), default='.png')
    return LabelMaps(paths, stems, suffix, ending)
