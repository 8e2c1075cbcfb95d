"""Draw objects and label maps on an image, quickly enough for video.

The visualizers of MMDetection and MMSegmentation draw with Matplotlib: half a second for an image
with a dozen objects, and labels that cover each other. Here OpenCV draws, the size of lines and
letters follows the size of the image, and a label that would cover another label moves or is left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convnext_mm.visualization.palette import Colour, is_background

_OPACITY = 0.45
# A label may have this many times the area of its object.
_LABEL_TO_OBJECT = 4
_CROWD = 12  # labels; more of them are smaller


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    colours: Sequence[Colour],
    masks: np.ndarray | None = None,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draw masks, boxes and names of objects on a copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (K, 4) x1, y1, x2, y2 in pixels.
        labels: (K,) indices of `classes`.
        classes: Names.
        colours: RGB of each object.
        masks: (K, H, W), nonzero inside the object.
        scores: (K,) from 0 to 1, written beside the name. The highest score is drawn on top.
    """
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind='stable')
    image = np.ascontiguousarray(image).copy()
    # Outlines of masks show the objects; thick boxes around them would hide a crowd.
    width = 1 if masks is not None else max(1, round(min(image.shape[:2]) / 320))
    if masks is not None:
        for i in order:
            _paint(image, masks[i].astype(np.uint8), colours[i])
    texts = []
    for i in order:
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[i])
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colours[i], width, cv2.LINE_AA)
        score = '' if scores is None else f' {scores[i]:.0%}'
        texts.append((f'{classes[labels[i]]}{score}'.strip(), (x1, y1, x2, y2), colours[i]))
    return _with_labels(image, texts[::-1])


def draw_labels(
    image: np.ndarray, labels: np.ndarray, classes: Sequence[str], palette: Sequence[Colour]
) -> np.ndarray:
    """Colour the classes of a label map on a copy of an image, and write their names.

    A class of the background is not painted, so that the photo stays visible.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) indices of `classes`. Pixels with other values, such as 255, get no colour.
        classes: Names.
        palette: RGB of each class.
    """
    known = np.isin(labels, [i for i, name in enumerate(classes) if not is_background(name)])
    table = np.array([*palette, (0, 0, 0)], np.uint8)
    painted = table[np.where(known, labels, len(classes))]
    mixed = cv2.addWeighted(image, 1 - _OPACITY, painted, _OPACITY, 0)
    mixed[~known] = image[~known]
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    mixed[edge & known] = painted[edge & known]
    texts = []
    for index in np.unique(labels[known]):
        texts.append((classes[index], _middle(labels == index), palette[index]))
    # Large regions come first, so that they get their labels at the best places.
    texts.sort(key=lambda text: -_area(text[1]))
    return _with_labels(mixed, texts, inside=True)


def draw_text(
    image: np.ndarray, text: str, xy: tuple[int, int], colour: Colour, size: int
) -> np.ndarray:
    """Draw a line of text on a copy of an RGB image, in letters `size` pixels high."""
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).text(xy, text, fill=colour, font=_font(size))
    return np.array(canvas)


def text_width(text: str, size: int) -> float:
    """Return the width of a line of text in pixels."""
    return _font(size).getlength(text)


def _paint(image: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    """Tint the pixels of a mask in place, and draw its outline."""
    y, x = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
    if not len(y):
        return
    # Most masks are small, so only their bounding boxes are tinted.
    window = image[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    part = mask[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    inside = part.astype(bool)
    tinted = window[inside] * (1 - _OPACITY) + np.array(colour) * _OPACITY
    window[inside] = tinted.astype(np.uint8)
    # The border of zeros closes outlines at the edge of the image.
    outlines, _ = cv2.findContours(
        cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT),
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_NONE,
        offset=(-1, -1),
    )
    cv2.drawContours(image, outlines, -1, colour, 1, cv2.LINE_AA)


def _middle(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return about the largest square inside a mask, as x1, y1, x2, y2."""
    inner = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(inner, cv2.DIST_C, 3)[1:-1, 1:-1]
    y, x = np.nonzero(depth > 0.9 * depth.max())
    # A long region has many equally deep points; the most central one is taken.
    nearest = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
    y, x = int(y[nearest]), int(x[nearest])
    half = int(depth[y, x])
    return x - half, y - half, x + half, y + half


def _area(box: tuple[int, int, int, int]) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _with_labels(
    image: np.ndarray,
    texts: Sequence[tuple[str, tuple[int, int, int, int], Colour]],
    inside: bool = False,
) -> np.ndarray:
    """Write labels in their order; a label that finds no free place is left out.

    Each label takes the free place where it hides the fewest pixels of objects.

    Args:
        image: (H, W, 3) uint8 RGB.
        texts: For each label its text, the box of its object, and its colour.
        inside: Write the label in the middle of its box instead of at the edge.
    """
    height, width = image.shape[:2]
    size = int(np.clip(min(height, width) / (34 if len(texts) < _CROWD else 42), 9, 36))
    font = _font(size)
    taken = np.zeros((height, width), bool)
    objects = np.zeros((height, width), bool)
    for _, (x1, y1, x2, y2), _ in texts:
        objects[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for text, box, colour in texts:
        w, h = round(font.getlength(text)) + 5, size + 4
        if not text or w * h > _LABEL_TO_OBJECT * _area(box):
            continue
        x1, y1, x2, y2 = box
        places = [((x1 + x2 - w) // 2, (y1 + y2 - h) // 2)] if inside else []
        if not inside:
            places = [(x1, y1 - h), (x1, y1), (x1, y2), (x2 - w, y2 - h)]
        places = [(min(max(x, 0), max(width - w, 0)), y) for x, y in places]
        free = [
            (x, y)
            for x, y in places
            if 0 <= y <= height - h and not taken[_window(x, y, w, h)].any()
        ]
        if not free:
            continue
        hidden = [objects[_window(x, y, w, h)].sum() for x, y in free]
        x, y = free[int(np.argmin(hidden))]
        taken[_window(x, y, w, h)] = True
        draw.rectangle((x, y, x + w - 1, y + h - 1), fill=colour)
        draw.text((x + 2, y + h / 2), text, fill=_readable_on(colour), font=font, anchor='lm')
    return np.array(canvas)


def _window(x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
    return slice(y, y + height), slice(x, x + width)


def _readable_on(colour: Colour) -> Colour:
    luminance = np.dot(colour, (0.299, 0.587, 0.114))
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib brings this font to every machine; it has the letters of most alphabets.
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), size
    )
