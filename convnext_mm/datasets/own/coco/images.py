"""Check that the images of COCO annotations exist, are complete and have the size of the JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from convnext_mm.datasets.image_files import Progress, read_each, read_size
from convnext_mm.datasets.own.coco import problems
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.files import base_name
from convnext_mm.messages.findings import Finding


def check_images(
    split: str, coco: CocoAnnotations, decode: bool, progress: Progress | None
) -> Iterator[Finding]:
    """Check the image files of a split; repair paths and missing sizes in memory."""
    folder, images = coco.paths.images, coco.content['images']
    yield from _repair_paths(split, images, folder)
    paths = [folder / image['file_name'] for image in images]
    # os.path.isfile is False, and no error, for names that no file can have.
    is_there = list(map(os.path.isfile, paths))
    present = [image for image, there in zip(images, is_there) if there]
    missing = [image['file_name'] for image, there in zip(images, is_there) if not there]
    yield from problems.MISSING_IMAGES.cases(split, missing, folder=folder)
    yield from _check_sizes(split, present, folder, decode, progress)
    counts = Counter(paths)
    repeated = [f'{path.name} ({count} times)' for path, count in counts.items() if count > 1]
    yield from problems.REPEATED_FILES.cases(split, repeated)


def _repair_paths(split: str, images: list[dict], folder: Path) -> Iterator[Finding]:
    moved, other_case = [], []
    by_lower: dict[str, str] | None = None
    for image in images:
        name = image['file_name']
        if os.path.isfile(folder / name):
            continue
        inside = base_name(name)
        if os.path.isfile(folder / inside):
            image['file_name'] = inside
            moved.append(name)
            continue
        if by_lower is None:  # Most data sets need no list of their files.
            by_lower = _names_by_lower(folder)
        if found := by_lower.get(inside.lower()):
            image['file_name'] = found
            other_case.append(f'{name} is {found}')
    yield from problems.MOVED_IMAGES.cases(split, moved, folder=folder)
    yield from problems.OTHER_CASE.cases(split, other_case)


def _names_by_lower(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their names in lower case; names that clash are left out."""
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    counts = Counter(map(str.lower, names))
    return {name.lower(): name for name in names if counts[name.lower()] == 1}


def _check_sizes(
    split: str, images: list[dict], folder: Path, decode: bool, progress: Progress | None
) -> Iterator[Finding]:
    paths = [folder / image['file_name'] for image in images]
    sizes = read_each(partial(read_size, decode=decode), paths, progress)
    unreadable, without_size, differing, not_rotated, unclear = [], [], [], [], []
    for image, path in zip(images, paths):
        name, size = image['file_name'], sizes[path]
        declared = image.get('width'), image.get('height')
        if size.error:
            unreadable.append(f'{name}: {size.error}')
        elif all(side in (None, actual) for side, actual in zip(declared, size.rotated)):
            image['width'], image['height'] = size.rotated
            without_size += [name] if None in declared else []
            tells = size.rotated != size.stored and None not in declared
            turned = size.orientation != 1 and not tells
            unclear += [f'{name} (orientation {size.orientation})'] if turned else []
        else:
            text = f'{name} is {_text(size.rotated)}, the annotations say {_text(declared)}'
            (not_rotated if declared == size.stored else differing).append(text)
    yield from problems.UNREADABLE_IMAGES.cases(split, unreadable)
    yield from problems.NO_SIZE.cases(split, without_size)
    yield from problems.OTHER_SIZE.cases(split, differing)
    yield from problems.EXIF_ROTATION.cases(split, not_rotated)
    yield from problems.UNCLEAR_ROTATION.cases(split, unclear)


def _text(size: tuple) -> str:
    return f'{size[0]}x{size[1]}'
