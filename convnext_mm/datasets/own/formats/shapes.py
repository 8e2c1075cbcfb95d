"""The shapes of annotation tools as COCO boxes and masks."""

from __future__ import annotations

import base64
import io
import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from convnext_mm.datasets.own.formats.source import Mask, Size

_CORNERS = 64  # of the polygon for an ellipse, whose area is then 0.2% too small
_MOST_BYTES = 2**28  # of a packed bitmap


def box_of_corners(corners: Iterable[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return (x, y, width, height) around points (x, y)."""
    xs, ys = zip(*corners)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def flat(points: Iterable[Sequence[float]]) -> list[float]:
    """Return points (x, y) as a COCO polygon [x1, y1, x2, y2, ...]."""
    return [float(value) for point in points for value in point[:2]]


def points_of(polygon: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points (x, y) of a COCO polygon."""
    return list(zip(polygon[::2], polygon[1::2]))


def rotated_box(
    x: float, y: float, width: float, height: float, degrees: float
) -> list[tuple[float, float]]:
    """Return the corners of a box that is turned about its centre, clockwise in the image."""
    turn = math.radians(degrees)
    cx, cy = x + width / 2, y + height / 2
    return [
        (
            cx + dx * math.cos(turn) - dy * math.sin(turn),
            cy + dx * math.sin(turn) + dy * math.cos(turn),
        )
        for dx, dy in (
            (-width / 2, -height / 2),
            (width / 2, -height / 2),
            (width / 2, height / 2),
            (-width / 2, height / 2),
        )
    ]


def ellipse(cx: float, cy: float, rx: float, ry: float, radians: float = 0) -> list[float]:
    """Return a polygon for an ellipse that is turned clockwise in the image."""
    angles = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    cos, sin = math.cos(radians), math.sin(radians)
    return np.stack([cx + x * cos - y * sin, cy + x * sin + y * cos], 1).ravel().tolist()


def joined(polygons: Sequence[list[float]]) -> list[float]:
    """Return one polygon for several: parts of an object, or an outline and its holes.

    Lines without width lead to the other polygons and back. Fillings by the even-odd rule, such as
    the one of pycocotools, do not show such lines, and leave holes empty.
    """
    start = polygons[0][:2]
    path = list(polygons[0])
    for polygon in polygons[1:]:
        path += [*start, *polygon, *polygon[:2]]
    return [*path, *start] if len(polygons) > 1 else path


def encoded(bitmap: np.ndarray, left: int, top: int, size: Size) -> dict:
    """Return a bitmap (h, w) at a place of an image as an uncompressed run-length encoding.

    Args:
        bitmap: The pixels of the object are not 0.
        left, top: Its place in the image. Pixels outside of the image are left out.
        size: (width, height) of the image.
    """
    width, height = size
    xs, ys = np.nonzero(bitmap.T)
    xs, ys = xs.astype(np.int64) + left, ys.astype(np.int64) + top
    inside = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
    # COCO counts down the columns.
    places = xs[inside] * height + ys[inside]
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = places[np.r_[0, breaks + 1]] if len(places) else places
    ends = places[np.r_[breaks, len(places) - 1]] + 1 if len(places) else places
    edges = np.stack([starts, ends], 1).ravel()
    counts = np.diff(np.r_[0, edges, width * height])
    return dict(size=[height, width], counts=counts.tolist())


def unpacked(data: str, packed: bool = False) -> np.ndarray:
    """Return the mask (h, w) in a base64 text that holds an image file.

    Args:
        data: The text.
        packed: Whether zlib has packed the image.

    Raises:
        ValueError: It is no base64 text, no image, or too large.
    """
    try:
        content = base64.b64decode(data, validate=True)
        if packed:
            unzip = zlib.decompressobj()
            content = unzip.decompress(content, _MOST_BYTES)
            if unzip.unconsumed_tail:
                raise ValueError('it is too large')
        with Image.open(io.BytesIO(content)) as image:
            # Of an image with transparency, the opaque pixels are the mask.
            pixels = image.getchannel('A') if 'A' in image.getbands() else image.convert('L')
            return np.asarray(pixels) > 0
    except Exception as error:  # Pillow raises nearly any exception for a broken image.
        raise ValueError(f'no image in base64: {error}') from None


def merged(masks: Sequence[Mask]) -> Mask | None:
    """Return the polygons of several masks as one mask; None if they are of different kinds."""
    if len(masks) == 1:
        return masks[0]
    if all(isinstance(mask, list) for mask in masks):
        return [polygon for mask in masks for polygon in mask]
    return None
