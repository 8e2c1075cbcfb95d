"""Looking at many image files at once: whether each can be read, and its size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

Seen_ = TypeVar('Seen_')
Progress = Callable[[int, int], None]

_ORIENTATION = 0x0112  # EXIF; 5 to 8 turn by 90 degrees
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow raises any


@dataclass(frozen=True)
class Seen:
    """An image file.

    Attributes:
        stored: (width, height) of its pixels as they are stored; None if it cannot be read.
        shown: (width, height) after turning it as its EXIF data says, which MMCV does.
        error: Why it cannot be read.
    """

    stored: tuple[int, int] | None = None
    shown: tuple[int, int] | None = None
    error: str = ''


def look_at(path: Path, decode: bool = True) -> Seen:
    """Read an image's size and, to know that it is whole, its pixels."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            if decode:
                image.draft(None, (width // 8, height // 8))  # all of a JPEG, less arithmetic
                image.load()
    except BROKEN as error:
        return Seen(error=f'{type(error).__name__}: {error}'.partition('\n')[0])
    return Seen((width, height), (height, width) if turned else (width, height))


def for_each(
    paths: Iterable[Path], look: Callable[[Path], Seen_], progress: Progress | None = None
) -> dict[Path, Seen_]:
    """Look at each file, several at a time; Pillow waits for no Python while it decodes."""
    paths = list(dict.fromkeys(paths))
    seen: dict[Path, Seen_] = {}
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for path, result in zip(paths, pool.map(look, paths)):
            seen[path] = result
            if progress:
                progress(len(seen), len(paths))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for no more than the files in hand
    return seen
