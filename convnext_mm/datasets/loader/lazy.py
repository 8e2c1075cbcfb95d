"""Images and label maps that are resized, cropped and flipped at once, when they are read."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from convnext_mm.datasets.image_files import UNREADABLE, exif_orientation
from convnext_mm.datasets.loader.axis import Axis

# OpenCV decodes a JPEG at these fractions of its size, in much less time.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
# A JPEG is decoded at a fraction if it stays at least twice as large as it is needed.
_ENOUGH = 2


class Lazy:
    """An array whose rows and columns are chosen now and computed later.

    It has a shape, it can be sliced, and ``np.flip`` flips it. So the transforms of MMCV that crop
    and flip an image work on it as they are.
    """

    def __init__(self, source: Any, y: Axis, x: Axis) -> None:
        self.source, self.y, self.x = source, y, x

    @property
    def shape(self) -> tuple[int, ...]:
        return self.y.size, self.x.size

    def resize(self, height: int, width: int) -> Lazy:
        return type(self)(self.source, self.y.resize(height), self.x.resize(width))

    def __getitem__(self, key: Sequence[slice]) -> Lazy:
        rows, columns = key[:2]
        height, width = self.shape[:2]
        y = self.y.crop(*rows.indices(height)[:2])
        return type(self)(self.source, y, self.x.crop(*columns.indices(width)[:2]))

    def __array_function__(
        self, function: Callable, types: Sequence[type], args: Sequence, kwargs: dict
    ) -> Any:
        if function is np.flip:
            return self._flip(*args[1:], **kwargs)
        return NotImplemented

    def _flip(self, axis: int | Sequence[int]) -> Lazy:
        axes = np.atleast_1d(axis)
        y = self.y.flip() if 0 in axes else self.y
        x = self.x.flip() if 1 in axes else self.x
        return type(self)(self.source, y, x)

    def copy(self) -> Lazy:
        return self  # no step changes it

    def read(self) -> np.ndarray:
        raise NotImplementedError


class Jpeg:
    """The content of an upright JPEG of a known size, which is not decoded yet."""

    def __init__(self, content: bytes, size: tuple[int, int], name: str) -> None:
        self.content, self.size, self.name = content, size, name

    @classmethod
    def open(cls, content: bytes, name: str) -> Jpeg | None:
        """Return None if an image has to be decoded to know its size."""
        try:
            with Image.open(io.BytesIO(content), formats=['JPEG']) as image:
                if exif_orientation(image) == 1:
                    return cls(content, image.size[::-1], name)
        except UNREADABLE:
            pass
        return None

    def decode(self, scale: float) -> tuple[np.ndarray, int]:
        """Return the pixels and the factor that they are reduced by.

        Args:
            scale: The size that is needed, as a fraction of the full one.

        Raises:
            AssertionError: MMCV's own, if the image cannot be read.
        """
        data = np.frombuffer(self.content, np.uint8)
        for factor, flag in _REDUCED.items():
            if scale * factor * _ENOUGH <= 1:
                pixels = cv2.imdecode(data, flag)
                if pixels is not None and pixels.shape[:2] == tuple(
                    -(-side // factor) for side in self.size
                ):
                    return pixels, factor
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert pixels is not None, f'failed to load image: {self.name}'
        assert pixels.shape[:2] == self.size, (
            f'{self.name}: the image has {pixels.shape[:2]} pixels (height, width) and its header '
            f'says {self.size}: write it again'
        )
        return pixels, 1


class LazyImage(Lazy):
    """An image, (H, W, C) uint8, that is read and resized once: only the part that is needed."""

    source: Jpeg | np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        channels = self.source.shape[2:] if isinstance(self.source, np.ndarray) else (3,)
        return self.y.size, self.x.size, *channels

    def read(self) -> np.ndarray:
        """Return the image in an array of its own."""
        return self._pixels().copy()

    def planes(self) -> np.ndarray:
        """Return the image as (C, H, W)."""
        return planes(self._pixels())

    def _pixels(self) -> np.ndarray:
        """Return the image, valid until the next image is read in this thread."""
        y, x, pixels = self.y, self.x, self.source
        if isinstance(pixels, Jpeg):
            pixels, factor = pixels.decode(max(abs(y.scale), abs(x.scale)))
            y, x = y.reduce(factor), x.reduce(factor)
        rows, columns = y.cut(), x.cut()
        pixels = pixels[rows.source, columns.source]
        if y.scale < 0 or x.scale < 0:
            # Before the resize, which mostly enlarges. cv2.flip: 1 mirrors, 0 is upside down, -1
            # both. To copy what np.flip returns would take ten times as long.
            pixels = cv2.flip(pixels, -1 if y.scale < 0 and x.scale < 0 else int(x.scale < 0))
            rows, columns = (
                cut.flip() if axis.scale < 0 else cut for axis, cut in ((y, rows), (x, columns))
            )
        shape = (rows.resized, columns.resized, *pixels.shape[2:])
        if pixels.shape != shape:
            pixels = cv2.resize(pixels, shape[1::-1], dst=_memory.array(shape))
        return pixels[rows.kept, columns.kept]


def planes(image: np.ndarray) -> np.ndarray:
    """Return an image, (H, W, C), as (C, H, W). OpenCV copies it much faster than NumPy."""
    found = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(image, list(found))
    return found


class _Memory(threading.local):
    """Memory for a resized image, which is used again: the system clears new memory first."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        if size > len(self._bytes):
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].reshape(shape)


_memory = _Memory()


class LazyLabels(Lazy):
    """A label map, (H, W) uint8, from which only the pixels that are needed are taken."""

    source: np.ndarray

    def __array_function__(
        self, function: Callable, types: Sequence[type], args: Sequence, kwargs: dict
    ) -> Any:
        if function is np.unique and kwargs == dict(return_counts=True):
            return self._counts()
        return super().__array_function__(function, types, args, kwargs)

    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels and their numbers of pixels, in a tenth of the time of np.unique."""
        counts = cv2.calcHist([self.read()], [0], None, [256], [0, 256])[:, 0].astype(np.int64)
        labels = np.flatnonzero(counts)
        return labels, counts[labels]

    def read(self) -> np.ndarray:
        rows, columns = self.y.pixels, self.x.pixels
        first, last = sorted((int(rows[0]), int(rows[-1])))
        if last - first >= len(rows):
            return self.source[rows].take(columns, axis=1)
        # Enlarged: to choose columns takes most of the time, and there are fewer rows at first.
        return self.source[first : last + 1].take(columns, axis=1)[rows - first]
