"""Check that the files of a published data set are there, readable, and fit together."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from convnext_mm.datasets.coco_scan import image_names, is_cut_off, object_count
from convnext_mm.datasets.image_files import UNREADABLE, in_threads
from convnext_mm.datasets.published.catalogue import PublishedDataset, PublishedSplit
from convnext_mm.messages.findings import Finding, Level, error, ok
from convnext_mm.messages.wording import listed

# Called with the part that is checked, the number of its files that are done, and the number of all
# of its files (None: unknown).
Progress = Callable[[str, int, 'int | None'], None]


@dataclass(frozen=True)
class PartCheck:
    """The check of one part of a data set: a folder, or a file of annotations.

    Attributes:
        finding: The result; its ``where`` is the path relative to the root.
        missing: The share of its files that are missing or damaged. An archive has them.
        damaged: Files that cannot be read, relative to the root.
    """

    finding: Finding
    missing: float = 0.0
    damaged: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path of the part, relative to the root."""
        return self.finding.where

    @property
    def complete(self) -> bool:
        """Whether all files are there, and fit together."""
        return self.finding.level is Level.OK


@dataclass(frozen=True)
class SplitCheck:
    """The checks of a split.

    Attributes:
        split: The split as published.
        parts: The check of the images and the check of the annotations.
        count: The number of images that should be there.
        is_subset: Whether the user has chosen fewer or other images than were published.
    """

    split: PublishedSplit
    parts: tuple[PartCheck, ...]
    count: int
    is_subset: bool

    @property
    def complete(self) -> bool:
        """Whether all files of the split are there, and fit together."""
        return all(part.complete for part in self.parts)


def check(dataset: PublishedDataset, root: Path, progress: Progress) -> list[SplitCheck]:
    """Check every part of a data set. Nothing is changed."""
    return [
        (_check_maps if split.stem else _check_coco)(root, split, progress)
        for split in dataset.splits
    ]


# --- COCO: a JSON and the images that it names


def _check_coco(root: Path, split: PublishedSplit, progress: Progress) -> SplitCheck:
    progress(split.annotations, 0, None)
    names, annotations = _read_json(root, split.annotations)
    progress(split.images, 0, None)
    present = _file_names(root / split.images, '')
    if names is None:
        # Without the JSON only the number of images is known.
        images = _compare_count(root, split.images, len(present), split.count)
        return SplitCheck(split, (annotations, images), len(present), is_subset=False)
    images = _compare_names(root, split.images, names, present)
    is_subset = len(names) != split.count
    return SplitCheck(split, (annotations, images), len(names), is_subset)


def _read_json(root: Path, path: str) -> tuple[list[str] | None, PartCheck]:
    """Return the names of the images, or None if the file cannot be read."""
    if not (root / path).is_file():
        found = error(path, f'the file is missing{_other_place(root, path)}')
        return None, PartCheck(found, missing=1)
    try:
        names = _names_in(root / path)
    except ValueError as reason:
        found = error(path, f'not readable as COCO annotations: {reason}')
        return None, PartCheck(found, missing=1, damaged=(path,))
    found = ok(path, f'{len(names):,} images, {object_count(root / path):,} objects')
    return names, PartCheck(found)


def _names_in(path: Path) -> list[str]:
    if is_cut_off(path):
        raise ValueError('it is cut off')
    names = list(image_names(path))
    if not names:
        raise ValueError('it names no images')
    return names


# --- ADE20K: a folder of images, and a folder of PNGs with the same names


def _check_maps(root: Path, split: PublishedSplit, progress: Progress) -> SplitCheck:
    progress(split.images, 0, None)
    images = {Path(name).stem for name in _file_names(root / split.images, '.jpg')}
    maps = {Path(name).stem for name in _file_names(root / split.annotations, '.png')}
    names = images | maps
    published = {split.stem.format(number) for number in range(1, split.count + 1)}
    # A subset has other names, or some of the images each with its PNG. An interrupted extraction
    # has the published names, and fills one folder before the other.
    is_subset = bool(names) and names != published and (images == maps or not names <= published)
    expected = sorted(names if is_subset else published)
    damaged, invalid = _read_pairs(root, split, sorted(images & maps), progress)
    parts = (
        _compare_names(root, split.images, expected, images, '.jpg'),
        _compare_names(root, split.annotations, expected, maps, '.png', 'annotations'),
    )
    parts = (
        _with_broken(parts[0], damaged, [], len(expected)),
        _with_broken(parts[1], damaged, invalid, len(expected)),
    )
    if parts[1].complete:
        text = f'{parts[1].finding.what}, class ids 0 to {split.classes}'
        parts = (parts[0], PartCheck(ok(split.annotations, text)))
    return SplitCheck(split, parts, len(expected), is_subset)


def _with_broken(part: PartCheck, damaged: list[str], invalid: list[str], count: int) -> PartCheck:
    """Add the files of a part that cannot be read, and the descriptions of invalid files."""
    own = tuple(file for file in damaged if Path(file).parent == Path(part.path))
    broken = [f'{Path(file).name} cannot be read' for file in own] + invalid
    if not broken:
        return part
    text = f'{part.finding.what}; {listed(broken)}'
    return PartCheck(error(part.path, text), part.missing + len(own) / count, own)


def _read_pairs(
    root: Path, split: PublishedSplit, names: list[str], progress: Progress
) -> tuple[list[str], list[str]]:
    """Return the files that cannot be read, and descriptions of PNGs that are invalid."""

    def read(name: str) -> tuple[list[str], str]:
        jpg, png = f'{split.images}/{name}.jpg', f'{split.annotations}/{name}.png'
        sizes, damaged, channels, highest = [], [], 1, 0
        for file in (jpg, png):
            try:
                with Image.open(root / file) as image:
                    sizes.append(image.size)
                    if file == png:
                        channels = len(image.getbands())
                        highest = image.getextrema()[-1]  # This reads the whole file.
            except UNREADABLE:
                damaged.append(file)
        if damaged:
            return damaged, ''
        if channels != 1:
            return [], f'{name}.png has {channels} channels instead of class ids'
        if highest > split.classes:
            return [], f'{name}.png has class id {highest:.0f}, above {split.classes}'
        if sizes[0] != sizes[1]:
            jpg_size, png_size = (f'{width}x{height}' for width, height in sizes)
            return [], f'{name}.png is {png_size}, its image {jpg_size}'
        return [], ''

    damaged, invalid = [], []
    for done, (unreadable, complaint) in enumerate(in_threads(read, names), 1):
        progress(split.annotations, done, len(names))
        damaged += unreadable
        invalid += [complaint] if complaint else []
    return damaged, invalid


# --- names and numbers of files


def _compare_names(
    root: Path,
    folder: str,
    expected: Collection[str],
    present: Collection[str],
    suffix: str = '',
    noun: str = 'images',
) -> PartCheck:
    """Compare the files in a folder with the names that should be there."""
    # A name with a folder in it is not among the names in the folder.
    missing = [
        name
        for name in expected
        if name not in present and not ('/' in name and _has_content(root / folder / name))
    ]
    if not missing:
        return PartCheck(ok(folder, f'{len(expected):,} {noun}'))
    have = len(expected) - len(missing)
    if not have:
        return _all_missing(root, folder, f'all {len(expected):,} {noun}')
    names = listed(f'{name}{suffix}' for name in missing)
    text = f'{have:,} of {len(expected):,} {noun}; {len(missing):,} missing or empty: {names}'
    return PartCheck(error(folder, text), missing=len(missing) / len(expected))


def _compare_count(root: Path, folder: str, have: int, count: int) -> PartCheck:
    """Compare the number of files in a folder with the published number."""
    if not have:
        return _all_missing(root, folder, f'all {count:,} images')
    if have >= count:
        return PartCheck(ok(folder, f'{have:,} images'))
    return PartCheck(error(folder, f'{have:,} of {count:,} images'), missing=1 - have / count)


def _all_missing(root: Path, folder: str, files: str) -> PartCheck:
    return PartCheck(error(folder, f'{files} are missing{_other_place(root, folder)}'), missing=1)


def _file_names(folder: Path, suffix: str) -> set[str]:
    """Return the names of files that are not empty; a full disk leaves empty files."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {e.name for e in entries if e.name.endswith(suffix) and e.stat().st_size}


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _other_place(root: Path, path: str) -> str:
    """Say where a missing part is instead, for example if an archive was unzipped elsewhere."""
    places = (root / Path(path).name, *sorted(root.glob(f'*/{path}')))
    found = next((place for place in places if place.exists() and place != root / path), None)
    return f', but there is {found}: move or link it to {root / path}' if found else ''
