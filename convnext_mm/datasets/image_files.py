"""Open many image files, several at a time: are they readable, and how large are they?"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from convnext_mm.messages.wording import first_line

Item = TypeVar('Item')
Result = TypeVar('Result')
# Called with the number of files that are done and the number of all files.
Progress = Callable[[int, int], None]

# Pillow's decoders raise nearly any exception for a broken file: OSError, SyntaxError, EOFError,
# struct.error, OverflowError and more.
UNREADABLE = Exception
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright, 5 to 8 rotate by 90 degrees
# In these formats, OpenCV reads all files that Pillow reads. A training reads images with OpenCV.
_READ_BY_BOTH = ('JPEG', 'MPO', 'WEBP')
_PNG_END = bytes(4) + b'IEND\xaeB`\x82'


@dataclass(frozen=True)
class ImageSize:
    """The size of an image file.

    Attributes:
        stored: (width, height) of the pixels in the file; None if it cannot be read.
        orientation: Its EXIF orientation, 1 to 8, which MMCV undoes when it reads the image.
        error: Why the file cannot be read.
    """

    stored: tuple[int, int] | None = None
    orientation: int = 1
    error: str = ''

    @property
    def rotated(self) -> tuple[int, int] | None:
        """(width, height) with the rotation in the EXIF data; None if it cannot be read."""
        return self.stored[::-1] if self.stored and self.orientation >= 5 else self.stored


def read_size(path: Path, decode: bool = True) -> ImageSize:
    """Read the size of an image and, to know that the file is complete, its pixels."""
    try:
        with open_image(path) as image:
            width, height = image.size
            orientation = exif_orientation(image)
            if decode:
                # A draft of a JPEG reads the whole file with less arithmetic.
                image.draft(None, (max(1, width // 8), max(1, height // 8)))
                image.load()
                if not _is_read_by_both(path, image.format) and not _opencv_reads(path):
                    kind = f'this {image.format} of mode {image.mode}'
                    return ImageSize(error=f'OpenCV cannot read {kind}: write it again as PNG')
    except UNREADABLE as error:
        return ImageSize(error=first_line(error))
    return ImageSize((width, height), orientation)


def open_image(path: Path) -> Image.Image:
    """Open an image file, but no other kind of file: to open a pipe would wait for ever.

    Raises:
        OSError: It is not a file, or Pillow does not know its format.
    """
    if not path.is_file():
        raise OSError('a broken link' if path.is_symlink() else 'not a file')
    return Image.open(path)


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 if there is none, or none that can be read.

    Pillow also finds an orientation in XMP data, which OpenCV ignores.
    """
    if 'exif' not in image.info and image.format != 'TIFF':
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except UNREADABLE:
        return 1
    return value if value in range(1, 9) else 1


def _is_read_by_both(path: Path, image_format: str) -> bool:
    """Return whether OpenCV can surely read a file of this format that Pillow has read.

    It does not know all kinds of TIFF and BMP, and not all formats that a wrong ending can hide.
    Pillow reads a PNG without its last bytes, and OpenCV does not.
    """
    if image_format != 'PNG':
        return image_format in _READ_BY_BOTH
    try:
        with open_image(path) as image:
            image.verify()
        with open(path, 'rb') as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except UNREADABLE:
        return False


def _opencv_reads(path: Path) -> bool:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) is not None


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
    with warnings.catch_warnings():
        # Pillow warns of large images and odd metadata. What a training cannot read is an error.
        warnings.simplefilter('ignore')
        for path, result in zip(paths, in_threads(read, paths)):
            results[path] = result
            if progress:
                progress(len(results), len(paths))
    return results
