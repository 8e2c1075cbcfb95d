"""What of a published data set is on disk: the files that belong to it, and what they hold."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from convnext_mm.datasets.published.catalogue import Published, Split

# What is being looked at, how many files of it are done, and how many there are (None: unknown).
Progress = Callable[[str, int, 'int | None'], None]

_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_OBJECT = re.compile(rb'"image_id"\s*:')
# What Pillow raises for a broken file, by where it is broken.
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Finding:
    """How one part of a data set is.

    Attributes:
        part: Its path, relative to the data set's root.
        text: What is there, and what is not.
        lacking: The share of its files that are missing, which an archive can fill in.
        wrong: Whether something is there that should not be so, which no archive mends.
        damaged: Those of the lacking files that are there and cannot be read, relative to the root.
    """

    part: str
    text: str
    lacking: float = 0.0
    wrong: bool = False
    damaged: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.lacking and not self.wrong


@dataclass(frozen=True)
class Checked:
    """The findings on a split.

    Attributes:
        split: The split as it was published.
        findings: One for the images, one for the annotations.
        images: How many there should be.
        subset: Whether these are others, or fewer, than were published, and meant to be.
    """

    split: Split
    findings: tuple[Finding, ...]
    images: int
    subset: bool

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


def check(dataset: Published, root: Path, progress: Progress) -> list[Checked]:
    """Look at every part of a data set; nothing is changed."""
    return [
        (_check_pngs if split.stem else _check_json)(root, split, progress)
        for split in dataset.splits
    ]


def _check_json(root: Path, split: Split, progress: Progress) -> Checked:
    """A COCO JSON and the images it names, which need not be all that were published."""
    progress(split.annotations, 0, None)
    names, annotations = _read_json(root, split)
    progress(split.images, 0, None)
    present = _files(root / split.images, '')
    if names is None:
        # Which images there should be is not known, only how many.
        images = _share(root, split.images, len(present), split.count)
        return Checked(split, (annotations, images), len(present), subset=False)
    images = _compare(root, split.images, names, present)
    return Checked(split, (annotations, images), len(names), len(names) != split.count)


def _read_json(root: Path, split: Split) -> tuple[list[str] | None, Finding]:
    """The names of the images, unless there is no readable file."""
    part = split.annotations
    if not (root / part).is_file():
        return None, Finding(part, f'the file{_elsewhere(root, part)}', lacking=1)
    try:
        names, objects = _skim(root / part)
    except ValueError as error:
        text = f'not readable as COCO annotations: {error}'
        return None, Finding(part, text, lacking=1, damaged=(part,))
    return names, Finding(part, f'{len(names):,} images, {objects:,} objects')


def _skim(path: Path) -> tuple[list[str], int]:
    """Image names and number of objects of a COCO JSON.

    Parsed, COCO's takes half a minute and 4 GB of memory; looked through, a few seconds.

    Raises:
        ValueError: It names no images, or its end is missing.
    """
    depth = 0
    with open(path, 'rb') as file:
        while chunk := file.read(2**24):
            depth += chunk.count(b'{') - chunk.count(b'}')
        if depth or not file.tell():
            raise ValueError('it is cut off')
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            names = [json.loads(match[1]) for match in _NAME.finditer(text)]
            objects = sum(1 for _ in _OBJECT.finditer(text))
    if not names:
        raise ValueError('it names no images')
    return names, objects


def _check_pngs(root: Path, split: Split, progress: Progress) -> Checked:
    """A folder of images and one of PNGs with the same names, which hold a class id per pixel."""
    progress(split.images, 0, None)
    images = {Path(name).stem for name in _files(root / split.images, '.jpg')}
    pngs = {Path(name).stem for name in _files(root / split.annotations, '.png')}
    names = images | pngs
    published = {split.stem.format(number) for number in range(1, split.count + 1)}
    # Names of one's own, or a choice of images each with its annotation; a broken extraction has
    # the published names, and one folder filled before the other.
    subset = bool(names) and names != published and (images == pngs or not names <= published)
    expected = sorted(names if subset else published)
    findings = [
        _compare(root, split.images, expected, images, '.jpg'),
        _compare(root, split.annotations, expected, pngs, '.png', 'annotations'),
    ]
    damaged, bad = _look_into(root, split, sorted(images & pngs), progress)
    findings = [
        _with(findings[0], damaged, [], len(expected)),
        _with(findings[1], damaged, bad, len(expected)),
    ]
    if findings[1].ok:
        text = f'{findings[1].text}, class ids 0 to {split.classes}'
        findings[1] = Finding(split.annotations, text)
    return Checked(split, tuple(findings), len(expected), subset)


def _with(finding: Finding, damaged: list[str], bad: list[str], count: int) -> Finding:
    """A finding on `count` files with those of a split that cannot be read, or do not fit."""
    own = tuple(file for file in damaged if Path(file).parent == Path(finding.part))
    if not own and not bad:
        return finding
    return replace(
        finding,
        text=f'{finding.text}; {_few([f"{Path(file).name} cannot be read" for file in own] + bad)}',
        lacking=finding.lacking + len(own) / count,
        wrong=bool(bad),
        damaged=own,
    )


def _look_into(
    root: Path, split: Split, names: list[str], progress: Progress
) -> tuple[list[str], list[str]]:
    """Which files of these images and PNGs cannot be read, and what is wrong with the others."""

    def look(name: str) -> tuple[list[str], list[str]]:
        jpg, png = f'{split.images}/{name}.jpg', f'{split.annotations}/{name}.png'
        sizes, damaged = [], []
        for file in (jpg, png):
            try:
                with Image.open(root / file) as image:
                    sizes.append(image.size)
                    if file == png:
                        channels = len(image.getbands())
                        extrema = image.getextrema()  # of the pixels: all of the file is read
            except _BROKEN:
                damaged.append(file)
        if damaged:
            return damaged, []
        if channels != 1:
            return [], [f'{name}.png has {channels} channels instead of class ids']
        if extrema[1] > split.classes:
            return [], [f'{name}.png has class id {extrema[1]:.0f}, above {split.classes}']
        if sizes[0] != sizes[1]:
            jpg_size, png_size = (f'{width}x{height}' for width, height in sizes)
            return [], [f'{name}.png is {png_size}, its image {jpg_size}']
        return [], []

    damaged, bad = [], []
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for done, (unreadable, unfit) in enumerate(pool.map(look, names), 1):
            progress(split.annotations, done, len(names))
            damaged += unreadable
            bad += unfit
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for no more than the files in hand
    return damaged, bad


def _compare(
    root: Path,
    part: str,
    expected: Collection[str],
    present: Collection[str],
    suffix: str = '',
    what: str = 'images',
) -> Finding:
    """A folder against the names of the files that should be in it."""
    # A name with a folder in it is not in the folder's list.
    missing = [
        n for n in expected if n not in present and not ('/' in n and _filled(root / part / n))
    ]
    if not missing:
        return Finding(part, f'{len(expected):,} {what}')
    have = len(expected) - len(missing)
    if not have:
        return Finding(part, f'all {len(expected):,} {what}{_elsewhere(root, part)}', lacking=1)
    text = f'{have:,} of {len(expected):,} {what}; {len(missing):,} missing or empty: '
    text += _few([f'{name}{suffix}' for name in missing])
    return Finding(part, text, lacking=len(missing) / len(expected))


def _share(root: Path, part: str, have: int, count: int) -> Finding:
    if not have:
        return Finding(part, f'all {count:,} images{_elsewhere(root, part)}', lacking=1)
    text = f'{have:,} images' if have >= count else f'{have:,} of {count:,} images'
    return Finding(part, text, lacking=max(0, count - have) / count)


def _few(things: list[str]) -> str:
    return ', '.join(things[:3]) + (f', and {len(things) - 3:,} more' if len(things) > 3 else '')


def _files(folder: Path, suffix: str) -> set[str]:
    """Names of the files of a folder that hold something; a full disk leaves empty ones."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {e.name for e in entries if e.name.endswith(suffix) and e.stat().st_size}


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _elsewhere(root: Path, part: str) -> str:
    """Where a part is instead, as after unzipping into another folder than the one expected."""
    places: Iterable[Path] = (root / Path(part).name, *sorted(root.glob(f'*/{part}')))
    found = next((place for place in places if place.exists() and place != root / part), None)
    return f', but there is {found}: move or link it to {root / part}' if found else ''
