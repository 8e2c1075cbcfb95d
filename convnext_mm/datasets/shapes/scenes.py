"""Rendered scenes of six shapes: textured, lit, overlapping, on a cluttered background.

Objects have vivid colours and backgrounds muted ones. Colour and texture are random for each
object, so only the outline shows its class. The ground truth is fair: an object that would hide too
much of another one, or that would not stand out from its surroundings, is not drawn. All objects
that are drawn can be recognised, and are annotated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')

VERSION = 1
"""The version of the images. Increase it with any change to them: only a data set on disk with this
version is reused.
"""

SPLITS = ('train', 'val')

MIN_SIDE = 32  # px; a smaller image has no room for a recognisable object
MAX_OBJECTS = 6
TRIES = 20  # random poses and paints for an object before it is left out
DIAMETERS = (0.18, 0.55)  # relative to the short side of the image
MIN_VISIBLE = 0.5  # share of the area of an object, including what the border cuts off
MIN_PIXELS = 40
MIN_CONTRAST = 75  # distance of colours in BGR, 0 to 441
SHADOW_REACH = 0.1  # relative to the short side
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """An image and the objects that are visible in it, from back to front.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        masks: (K, H, W) bool, the visible pixels of each object; disjoint, none empty.
        labels: (K,) int64, indices into `CLASSES`.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray

    @property
    def label_map(self) -> np.ndarray:
        """The label map, (H, W) uint8: 0 for background, else class index + 1, as in ADE20K."""
        return (self.masks * (self.labels + 1)[:, None, None]).sum(0).astype(np.uint8)


def render_scene(
    seed: int | np.random.SeedSequence | np.random.Generator, height: int, width: int
) -> Scene:
    """Draw one scene; the same seed gives the same bytes.

    The canvas is float64 until the last step, so that differences in rounding between CPUs are far
    below the 8 bits of the image.

    Raises:
        ValueError: `height` or `width` is below 32 px.
    """
    require_at_least(MIN_SIDE, height=height, width=width)
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)])  # x, y; the direction of shadows
    side = min(height, width)

    canvas = _background(rng, height, width)
    owner = np.zeros((height, width), np.uint8)  # 0: background, k + 1: object k
    labels, areas = [], []
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        label = rng.integers(len(CLASSES))
        for _ in range(TRIES):
            contours = _pose(rng, OUTLINES[CLASSES[label]], height, width)
            window = _window(contours, SHADOW_REACH * side, height, width)
            coverage = _coverage(contours, window)
            mask = coverage >= 0.5
            new_owner = owner.copy()
            new_owner[window][mask] = len(labels) + 1
            new_areas = [*areas, _area(contours)]
            if not _all_recognisable(new_owner, new_areas):
                continue
            ground = _with_shadow(canvas[window], coverage, light, side)
            paint = _paint(rng, coverage.shape, side)
            if not _stands_out(paint, ground, mask):
                continue
            canvas[window] = _blend(ground, paint, coverage)
            owner, areas = new_owner, new_areas
            labels.append(label)
            break

    ids = np.arange(1, len(labels) + 1)
    return Scene(
        image=_develop(rng, canvas, light),
        masks=owner == ids[:, None, None],
        labels=np.array(labels, np.int64),
    )


def render_split(split: str, count: int, height: int, width: int, seed: int = 0) -> Iterator[Scene]:
    """Draw the first `count` scenes of 'train' or 'val'; scene i is the same for every `count`.

    Raises:
        ValueError: There is no such split, or the images are smaller than 32 px.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r} must be one of {SPLITS}')
    for index in range(count):
        key = (SPLITS.index(split), index)
        yield render_scene(np.random.SeedSequence(seed, spawn_key=key), height, width)


# --- Geometry. A shape is a list of (P, 2) contours in x, y: its outline, then its holes.


def _polar(radii: np.ndarray | float, points: int) -> np.ndarray:
    """Return a contour with a point in each of `points` directions, the first of them upwards."""
    angles = 2 * np.pi * np.arange(points) / points - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radii, (-1, 1))


def _cross(arm: float) -> np.ndarray:
    """Return a plus sign of length and height 2, with arms of width `2 * arm`."""
    quarter = np.array([(arm, 1), (arm, arm), (1, arm)])
    x, y = quarter.T
    turns = [(x, y), (y, -x), (-x, -y), (-y, x)]
    return np.concatenate([np.stack(turn, axis=1) for turn in turns])


OUTLINES = {  # inside the unit circle
    'circle': [_polar(1, 64)],
    'square': [_polar(1, 4)],
    'triangle': [_polar(1, 3)],
    'star': [_polar(np.tile([1, 0.45], 5), 10)],
    'cross': [_cross(0.32) / np.hypot(1, 0.32)],
    'ring': [_polar(1, 64), _polar(0.55, 64)],
}


def _pose(
    rng: np.random.Generator, contours: list[np.ndarray], height: int, width: int
) -> list[np.ndarray]:
    """Scale, shear, rotate and move contours at random; the result is in pixels."""
    radius = rng.uniform(*DIAMETERS) * min(height, width) / 2
    aspect = np.exp(rng.uniform(-0.2, 0.2))
    slant, turn = (_rotation(angle) for angle in rng.uniform(0, 2 * np.pi, 2))
    matrix = radius * turn @ np.diag([aspect**0.5, aspect**-0.5]) @ slant
    centre = rng.uniform(0, 1, 2) * (width, height)
    return [contour @ matrix.T + centre for contour in contours]


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _area(contours: list[np.ndarray]) -> float:
    outline, *holes = (cv2.contourArea(contour.astype(np.float32)) for contour in contours)
    return outline - sum(holes)


def _window(
    contours: list[np.ndarray], margin: float, height: int, width: int
) -> tuple[slice, slice]:
    """Return the rows and columns of the image that hold the contours and a margin."""
    low = np.floor(np.min(contours[0], axis=0) - margin)
    high = np.ceil(np.max(contours[0], axis=0) + margin)
    (left, top), (right, bottom) = np.clip([low, high], 0, (width, height)).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def _coverage(contours: list[np.ndarray], window: tuple[slice, slice]) -> np.ndarray:
    """Return the share of each pixel in the window that the shape covers, float64 in 0..1."""
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    samples = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    # Coordinates of cv2 start at the centre of a pixel, and those of contours at the image corner.
    corner = columns.start, rows.start
    points = [np.rint((contour - corner) * SUPERSAMPLING - 0.5) for contour in contours]
    # 240 is a multiple of the 16 samples in a pixel, so the mean is exact in 8 bits.
    cv2.fillPoly(samples, [contour.astype(np.int32) for contour in points], 240)
    return cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA) / 240.0


# --- Fair ground truth.


def _all_recognisable(owner: np.ndarray, areas: list[float]) -> bool:
    """Return whether enough of every object is visible."""
    visible = np.bincount(owner.ravel(), minlength=len(areas) + 1)[1:]
    return bool(np.all(visible >= np.maximum(MIN_PIXELS, MIN_VISIBLE * np.array(areas))))


def _stands_out(paint: np.ndarray, ground: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether paint and ground differ along nine tenths of the edge of the mask."""
    edge = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    contrast = np.linalg.norm(paint[edge] - ground[edge], axis=1)
    return bool(np.mean(contrast >= MIN_CONTRAST) >= 0.9)


# --- Colour. Unfinished images are (H, W, 3) float64 in 0..255.


def _soft_step(x: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 3 * x, 0, 1)


# Each returns the share of the second colour, 0..1. A period of u and of v is 2 pi.
PATTERNS: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    lambda u, v: np.zeros_like(u),  # flat
    lambda u, v: 0.5 + 0.5 * np.sin(u / 5),  # gradient
    lambda u, v: _soft_step(np.sin(u)),  # stripes
    lambda u, v: _soft_step(np.sin(u) * np.sin(v)),  # checks
    lambda u, v: _soft_step(np.cos(u) + np.cos(v) - 0.7),  # dots
)


def _blend(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return below + (above - below) * alpha[..., None]


def _paint(rng: np.random.Generator, shape: tuple[int, int], side: int) -> np.ndarray:
    """Return two vivid colours in a random pattern; `side` is the short side of the image."""
    # A part of the pattern must be smaller than the smallest object, or it looks like an object.
    period = rng.uniform(0.05, 0.08) * side
    axes = _rotation(rng.uniform(0, 2 * np.pi)) * 2 * np.pi / period
    phases = rng.uniform(0, 2 * np.pi, 2)
    y, x = np.ogrid[: shape[0], : shape[1]]
    u, v = (a * x + b * y + phase for (a, b), phase in zip(axes, phases, strict=True))
    colour, other = _vivid(rng), _vivid(rng)
    return _blend(colour, other, 0.5 * PATTERNS[rng.integers(len(PATTERNS))](u, v))


def _vivid(rng: np.random.Generator) -> np.ndarray:
    """Return a saturated colour for an object; (3,) BGR."""
    channels = rng.uniform(10, 70), rng.uniform(10, 245), rng.uniform(180, 245)
    return rng.permutation(channels)


def _muted(rng: np.random.Generator) -> np.ndarray:
    """Return a greyish colour for a background; (3,) BGR."""
    return rng.uniform(40, 215) + rng.normal(0, 10, 3)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a smooth muted background with strips and blobs that resemble no class."""
    side = min(height, width)
    corners = _muted(rng) + rng.normal(0, 20, (2, 2, 1))
    canvas = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for cells in (4, 10):
        noise = rng.normal(0, 18, (cells, cells, 1)) + rng.normal(0, 4, (cells, cells, 3))
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)

    for _ in range(rng.integers(0, 4)):
        half_width = rng.uniform(0.005, 0.02) * side
        strip = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (height + width, half_width)
        _distract(rng, canvas, strip, blur=0.5)
    for _ in range(rng.integers(0, 4)):
        lobes = np.sin(np.outer((1, 2, 3), np.linspace(0, 2 * np.pi, 64, endpoint=False)))
        radii = 1 + rng.uniform(-0.4, 0.4, 3) @ lobes
        blob = _polar(radii, 64) * rng.uniform(0.1, 0.25) * side
        _distract(rng, canvas, blob, blur=0.04 * side)
    return np.clip(canvas, 0, 255)


def _distract(
    rng: np.random.Generator, canvas: np.ndarray, contour: np.ndarray, blur: float
) -> None:
    """Rotate a contour, put it at a random place, and tint the pixels it covers; in place."""
    height, width = canvas.shape[:2]
    turned = contour @ _rotation(rng.uniform(0, 2 * np.pi)).T
    contours = [turned + rng.uniform(0, 1, 2) * (width, height)]
    window = _window(contours, 4 * blur, height, width)
    alpha = 0.6 * cv2.GaussianBlur(_coverage(contours, window), (0, 0), blur)
    canvas[window] = _blend(canvas[window], _muted(rng), alpha)


def _with_shadow(
    ground: np.ndarray, coverage: np.ndarray, light: np.ndarray, side: int
) -> np.ndarray:
    """Darken the ground behind an object, on the side away from the light."""
    move = np.column_stack([np.eye(2), 0.03 * side * light])
    shadow = cv2.warpAffine(coverage, move, coverage.shape[::-1])
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.02 * side)
    return ground * (1 - 0.4 * shadow)[..., None]


def _develop(rng: np.random.Generator, canvas: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Light the canvas from one side, blur it and add noise like a camera; return uint8."""
    height, width = canvas.shape[:2]
    x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)[:, None]
    falloff = rng.uniform(0.1, 0.5) * (light[0] * x + light[1] * y)
    image = canvas * (1 - falloff)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.6))
    image += rng.normal(0, rng.uniform(1, 5), image.shape)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def require_at_least(least: int, **arguments: int) -> None:
    """Raise a ValueError that names the argument if one is no integer or below a minimum."""
    for name, value in arguments.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f'{name}={value!r} must be a whole number, {least} or more')
