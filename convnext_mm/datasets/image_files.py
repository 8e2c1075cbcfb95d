"""Open many image files, several at a time: are they readable, and how large are they?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

Item = TypeVar('Item')
Result = TypeVar('Result')
# Called with the number of files that are done and the number of all files.
Progress = Callable[[int, int], None]

# What Pillow raises for a broken file, depending on where it is broken.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 rotate by 90 degrees


@dataclass(frozen=True)
class ImageSize:
    """The size of an image file.

    Attributes:
        stored: (width, height) of the pixels in the file; None if it cannot be read.
        rotated: (width, height) after the rotation in its EXIF data, which MMCV applies.
        error: Why the file cannot be read.
    """

    stored: tuple[int, int] | None = None
    rotated: tuple[int, int] | None = None
    error: str = ''


def read_size(path: Path, decode: bool = True) -> ImageSize:
    """Read the size of an image and, to know that the file is complete, its pixels."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            swapped = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            if decode:
                # A draft of a JPEG reads the whole file with less arithmetic.
                image.draft(None, (width // 8, height // 8))
                image.load()
    except UNREADABLE as error:
        return ImageSize(error=first_line(error))
    return ImageSize((width, height), (height, width) if swapped else (width, height))


def first_line(error: Exception) -> str:
    """Describe an error in one line."""
    return f'{type(error).__name__}: {error}'.partition('\n')[0]


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield a function's result for each item, in order; Pillow releases the GIL to decode.

    After an interruption (Ctrl-C) only the files that are being read are waited for.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def read_each(
    read: Callable[[Path], Result], paths: Iterable[Path], progress: Progress | None = None
) -> dict[Path, Result]:
    """Read each file once, and return the results by path."""
    paths = list(dict.fromkeys(paths))
    results: dict[Path, Result] = {}
    for path, result in zip(paths, in_threads(read, paths)):
        results[path] = result
        if progress:
            progress(len(results), len(paths))
    return results
