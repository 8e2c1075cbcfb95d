"""Rendered scenes of six shapes: textured, lit, overlapping, on a cluttered background.

Objects are vivid and backgrounds muted, so that an object can be told from its background; colour
and texture are drawn independently of the class, so that only the outline tells it. The ground
truth is fair by construction: an object that would hide another too much, or that its surroundings
would swallow, is never drawn, so everything drawn can be recognised and is annotated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')

VERSION = 1
"""Increase it with any change to the pictures: a set on disk is reused only when it matches."""

SPLITS = ('train', 'val')

MIN_SIDE = 32  # px; smaller pictures have no room for a recognisable object
MAX_OBJECTS = 6
TRIES = 20  # poses and paints drawn for an object before the scene does without it
DIAMETERS = (0.18, 0.55)  # of the picture's short side
MIN_VISIBLE = 0.5  # of the object's area, counting what the picture's border cuts off
MIN_PIXELS = 40
MIN_CONTRAST = 75  # distance in BGR, 0..441
SHADOW_REACH = 0.1  # of the short side
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """A picture and the objects visible in it, the rearmost first.

    image: (H, W, 3) uint8, BGR.
    masks: (K, H, W) bool, the visible pixels of each object; disjoint, none empty.
    labels: (K,) int64, indices into `CLASSES`.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray

    @property
    def label_map(self) -> np.ndarray:
        """(H, W) uint8: 0 for background, else the class index + 1, as ADE20K numbers them."""
        return (self.masks * (self.labels + 1)[:, None, None]).sum(0).astype(np.uint8)


def render_scene(
    seed: int | np.random.SeedSequence | np.random.Generator, height: int, width: int
) -> Scene:
    """Draw one scene; the same seed gives the same bytes.

    The canvas is float64 until the last step: what CPUs round differently is then far below the
    8 bits of the picture.

    Raises:
        ValueError: `height` or `width` is below 32 px.
    """
    require_at_least(MIN_SIDE, height=height, width=width)
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)])  # x, y; shadows fall along it
    side = min(height, width)

    canvas = _background(rng, height, width)
    owner = np.zeros((height, width), np.uint8)  # who shows at a pixel: 0 background, k+1 object k
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
        ValueError: there is no such split, or the pictures are below 32 px.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r} must be one of {SPLITS}')
    for index in range(count):
        key = (SPLITS.index(split), index)
        yield render_scene(np.random.SeedSequence(seed, spawn_key=key), height, width)


# --- Geometry. A shape is a list of (P, 2) contours in x, y: its outline, then its holes.


def _polar(radii: np.ndarray | float, points: int) -> np.ndarray:
    """Contour through `points` equally spaced directions, the first pointing up."""
    angles = 2 * np.pi * np.arange(points) / points - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radii, (-1, 1))


def _cross(arm: float) -> np.ndarray:
    """Plus sign of tip-to-tip length 2 whose arms are `2 * arm` wide."""
    quarter = np.array([(arm, 1), (arm, arm), (1, arm)])
    x, y = quarter.T
    turns = [(x, y), (y, -x), (-x, -y), (-y, x)]
    return np.concatenate([np.stack(turn, axis=1) for turn in turns])


OUTLINES = {  # within the unit circle
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
    """Scale, slant, turn and move contours, in pixels."""
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
    """The rows and columns of the picture that hold the contours and a margin around them."""
    low = np.floor(np.min(contours[0], axis=0) - margin)
    high = np.ceil(np.max(contours[0], axis=0) + margin)
    (left, top), (right, bottom) = np.clip([low, high], 0, (width, height)).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def _coverage(contours: list[np.ndarray], window: tuple[slice, slice]) -> np.ndarray:
    """How much of each pixel in the window the shape covers: float64 in 0..1."""
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    samples = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    # cv2 counts from pixel centres, contours from the picture's corner: hence the half.
    corner = columns.start, rows.start
    points = [np.rint((contour - corner) * SUPERSAMPLING - 0.5) for contour in contours]
    # 240 is a multiple of the 16 samples in a pixel: the 8-bit mean below is exact.
    cv2.fillPoly(samples, [contour.astype(np.int32) for contour in points], 240)
    return cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA) / 240.0


# --- What keeps the ground truth fair.


def _all_recognisable(owner: np.ndarray, areas: list[float]) -> bool:
    """Whether enough of every object shows."""
    visible = np.bincount(owner.ravel(), minlength=len(areas) + 1)[1:]
    return bool(np.all(visible >= np.maximum(MIN_PIXELS, MIN_VISIBLE * np.array(areas))))


def _stands_out(paint: np.ndarray, ground: np.ndarray, mask: np.ndarray) -> bool:
    """Whether paint and ground differ along nine tenths of the mask's edge."""
    edge = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    contrast = np.linalg.norm(paint[edge] - ground[edge], axis=1)
    return bool(np.mean(contrast >= MIN_CONTRAST) >= 0.9)


# --- Colour. Pictures in the making are (H, W, 3) float64 in 0..255.


def _soft_step(x: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 3 * x, 0, 1)


# Each mixes two colours by 0..1; u and v run through 2 pi in a period, along and across.
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
    """Two vivid colours in a random pattern, for a window of a picture with this short side."""
    # The pattern's parts stay well below the smallest object, or they would look like one.
    period = rng.uniform(0.05, 0.08) * side
    axes = _rotation(rng.uniform(0, 2 * np.pi)) * 2 * np.pi / period
    phases = rng.uniform(0, 2 * np.pi, 2)
    y, x = np.ogrid[: shape[0], : shape[1]]
    u, v = (a * x + b * y + phase for (a, b), phase in zip(axes, phases, strict=True))
    colour, other = _vivid(rng), _vivid(rng)
    return _blend(colour, other, 0.5 * PATTERNS[rng.integers(len(PATTERNS))](u, v))


def _vivid(rng: np.random.Generator) -> np.ndarray:
    """A saturated colour, as objects have; (3,) BGR."""
    channels = rng.uniform(10, 70), rng.uniform(10, 245), rng.uniform(180, 245)
    return rng.permutation(channels)


def _muted(rng: np.random.Generator) -> np.ndarray:
    """A greyish colour, as backgrounds have; (3,) BGR."""
    return rng.uniform(40, 215) + rng.normal(0, 10, 3)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smoothly varying muted colour with stray strips and blobs that resemble no class."""
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
    """Turn a contour, put it anywhere, and tint what it covers; in place."""
    height, width = canvas.shape[:2]
    turned = contour @ _rotation(rng.uniform(0, 2 * np.pi)).T
    contours = [turned + rng.uniform(0, 1, 2) * (width, height)]
    window = _window(contours, 4 * blur, height, width)
    alpha = 0.6 * cv2.GaussianBlur(_coverage(contours, window), (0, 0), blur)
    canvas[window] = _blend(canvas[window], _muted(rng), alpha)


def _with_shadow(
    ground: np.ndarray, coverage: np.ndarray, light: np.ndarray, side: int
) -> np.ndarray:
    """Darken what lies behind an object, on the side away from the light."""
    move = np.column_stack([np.eye(2), 0.03 * side * light])
    shadow = cv2.warpAffine(coverage, move, coverage.shape[::-1])
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.02 * side)
    return ground * (1 - 0.4 * shadow)[..., None]


def _develop(rng: np.random.Generator, canvas: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Light the canvas from one side, then blur it and add noise as a camera does; to uint8."""
    height, width = canvas.shape[:2]
    x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)[:, None]
    falloff = rng.uniform(0.1, 0.5) * (light[0] * x + light[1] * y)
    image = canvas * (1 - falloff)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.6))
    image += rng.normal(0, rng.uniform(1, 5), image.shape)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def require_at_least(least: int, **arguments: int) -> None:
    for name, value in arguments.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f'{name}={value!r} must be a whole number, {least} or more')
