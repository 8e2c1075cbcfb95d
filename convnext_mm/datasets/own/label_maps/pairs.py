"""Pair images with their label maps, and read the ids in a label map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convnext_mm.datasets.image_files import UNREADABLE, open_image
from convnext_mm.datasets.own.files import SplitPaths, fits_config, images_in
from convnext_mm.datasets.own.recognise import Layout, label_maps_in
from convnext_mm.errors import UserError
from convnext_mm.messages.wording import first_line, printable

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
        map_files: All PNGs in the folder of the label maps.
        other_images: Images with another ending.
        all_in_folder: Whether MMSegmentation finds the same images in the folder. It enters hidden
            folders, follows links in circles and fails at links to nothing.
        unlabelled: The stems of images without a pixel that has a class; known after the check.
        contents: The contents of the label maps by stem; known after the check.
    """

    paths: SplitPaths
    stems: list[str]
    image_suffix: str
    map_suffix: str
    map_files: frozenset[Path]
    other_images: list[Path]
    all_in_folder: bool
    unlabelled: frozenset[str] = frozenset()
    contents: Mapping[str, MapContent] = field(default_factory=dict)

    @property
    def suffixes(self) -> tuple[str, str]:
        """The endings of images and label maps."""
        return self.image_suffix, self.map_suffix

    @property
    def labelled(self) -> list[str]:
        """The stems of the images with a pixel that has a class."""
        return [stem for stem in self.stems if stem not in self.unlabelled]

    def image(self, stem: str) -> Path:
        """Return the path of an image."""
        return self.paths.images / f'{stem}{self.image_suffix}'

    def label_map(self, stem: str) -> Path:
        """Return the path where the label map of an image should be."""
        return self.paths.annotations / f'{stem}{self.map_suffix}'


@dataclass(frozen=True)
class MapContent:
    """The content of one label map: (width, height) and the pixels of each id, or an error."""

    size: tuple[int, int] = (0, 0)
    pixels: Mapping[int, int] = field(default_factory=dict)
    error: str = ''

    @property
    def ids(self) -> frozenset[int]:
        """The ids that at least one pixel has."""
        return frozenset(self.pixels)


def read_label_maps(layout: Layout) -> dict[str, LabelMaps]:
    """Find the images and the endings of each split.

    Raises:
        UserError: A split has no images, or a folder cannot be read.
    """
    return {split: _find_pairs(paths) for split, paths in layout.splits.items()}


def read_map(path: Path) -> MapContent:
    """Read the size and the ids of a label map."""
    try:
        with open_image(path) as image:
            if image.mode not in _MAP_MODES:
                return MapContent(error=f'mode {image.mode}: {len(image.getbands())} channels')
            # The histogram of a bitmap counts at 0 and 255. MMSegmentation reads 0 and 1.
            largest = 1 if image.mode == '1' else 255
            counts = enumerate(image.histogram())
            return MapContent(image.size, {min(i, largest): n for i, n in counts if n})
    except UNREADABLE as error:
        return MapContent(error=first_line(error))


def _find_pairs(paths: SplitPaths) -> LabelMaps:
    """Take the images with the most frequent ending, and find the ending of their label maps."""
    skipped: list[Path] = []
    images = images_in(paths.images, skipped)
    suffixes = Counter(path.suffix for path in images)
    if not suffixes:
        raise UserError(f'{paths.images}: no images')
    suffix = suffixes.most_common(1)[0][0]
    stems = [
        str(path.relative_to(paths.images))[: -len(suffix)]
        for path in images
        if path.suffix == suffix
    ]
    map_files = label_maps_in(paths.annotations)
    pngs = [str(path.relative_to(paths.annotations)) for path in map_files]
    endings = Counter(
        png[len(stem) :] for stem in stems[:_SAMPLE] for png in pngs if png.startswith(stem)
    )
    # The shortest of the most frequent endings, because img1 is also the start of img10.
    ending = min(endings, key=lambda e: (-endings[e], len(e)), default='.png')
    if not fits_config(ending):
        raise UserError(
            f'{paths.annotations}: the names of the label maps end in {printable(ending)}, which a '
            'config cannot hold: rename them'
        )
    others = [path for path in images if path.suffix != suffix]
    return LabelMaps(paths, stems, suffix, ending, frozenset(map_files), others, not skipped)
