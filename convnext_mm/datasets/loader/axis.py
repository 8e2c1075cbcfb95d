"""One axis of an image while it is resized, cropped, flipped and padded, without its pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

# How many pixels beyond a crop may be read to find an edge that a resize can meet exactly.
_MARGIN = 8
_ROUNDING = 1e-6


class Cut(NamedTuple):
    """How to get an axis by one resize: source pixels, their new number, and a crop of it."""

    start: int
    stop: int
    resized: int
    skip: int
    size: int

    @property
    def source(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        return slice(self.skip, self.skip + self.size)

    def flip(self) -> Cut:
        """Return the same cut of flipped source pixels."""
        return self._replace(skip=self.resized - self.skip - self.size)


@dataclass(frozen=True)
class Axis:
    """One axis of an image file (the source) after resizes, crops, flips and padding.

    Positions are edges of pixels: pixel 0 is between 0 and 1.

    Attributes:
        source: The number of pixels in the file.
        size: The number of pixels now.
        scale: A position is ``scale * source position + offset``; negative after a flip.
        offset: See `scale`.
        before: The axis before the last step; None if nothing was done.
        step: Chooses from the pixels before the last step.
    """

    source: int
    size: int
    scale: float = 1.0
    offset: float = 0.0
    before: Axis | None = None
    step: Callable[[np.ndarray], np.ndarray] | None = None

    @classmethod
    def of(cls, size: int) -> Axis:
        """Return the axis of an image that nothing was done to."""
        return cls(size, size)

    @cached_property
    def pixels(self) -> np.ndarray:
        """For each pixel, the source pixel that nearest-neighbour resizes take; -1 is padding."""
        if self.before is None:
            return np.arange(self.size, dtype=np.int32)
        return self.step(self.before.pixels)

    def resize(self, size: int) -> Axis:
        if size == self.size:
            return self
        factor = size / self.size
        scale, offset = self.scale * factor, self.offset * factor
        return Axis(self.source, size, scale, offset, self, partial(_nearest, size=size))

    def crop(self, start: int, stop: int) -> Axis:
        stop = min(stop, self.size)
        step = partial(_part, start=start, stop=stop)
        return Axis(self.source, stop - start, self.scale, self.offset - start, self, step)

    def flip(self) -> Axis:
        offset = self.size - self.offset
        return Axis(self.source, self.size, -self.scale, offset, self, np.flip)

    def pad(self, size: int) -> Axis:
        if size == self.size:
            return self
        return Axis(self.source, size, self.scale, self.offset, self, partial(_padded, size=size))

    def reduce(self, factor: int) -> Axis:
        """Return the axis for a source that was decoded at a fraction of its size."""
        return replace(self, source=-(-self.source // factor), scale=self.scale * factor)

    def cut(self) -> Cut:
        """Return how to get the axis, apart from a flip and padding, by one resize.

        A resize maps whole source pixels to whole pixels, but the edges of a crop that was resized
        are at fractions of source pixels. So the cut may begin and end some pixels outside of the
        crop, where edges of pixels before and after the resize nearly meet.
        """
        scale, size = abs(self.scale), self.size
        offset = self.offset if self.scale > 0 else size - self.offset
        first, last = -offset / scale, (size - offset) / scale
        before = min(max(math.floor(first + _ROUNDING), 0), self.source - 1)
        after = max(min(math.ceil(last - _ROUNDING), self.source), before + 1)

        def distance(edge: int) -> float:
            position = edge * scale + offset
            beyond = max(before - edge, edge - after, 0)
            return abs(position - round(position)) + 1e-3 * beyond

        start = min(range(max(before - _MARGIN, 0), before + 1), key=distance)
        stop = min(range(after, min(after + _MARGIN, self.source) + 1), key=distance)
        begin, end = min(round(start * scale + offset), 0), round(stop * scale + offset)
        return Cut(start, stop, max(end, size) - begin, -begin, size)


def _nearest(pixels: np.ndarray, size: int) -> np.ndarray:
    # OpenCV's formula, so that label maps and masks are equal to its own.
    chosen = np.floor(np.arange(size) * (1 / (size / len(pixels)))).astype(np.int32)
    return pixels[np.minimum(chosen, len(pixels) - 1)]


def _part(pixels: np.ndarray, start: int, stop: int) -> np.ndarray:
    return pixels[start:stop]


def _padded(pixels: np.ndarray, size: int) -> np.ndarray:
    found = np.full(size, -1, np.int32)
    found[: len(pixels)] = pixels
    return found
