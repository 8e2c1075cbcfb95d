"""Images with ground truth and prediction side by side, for SVG over an embedded JPEG."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from convnext_mm.evaluation.report.detection_scores import Matches
from convnext_mm.evaluation.report.evaluated_data import DetectionData
from convnext_mm.visualization.image_files import read_bgr

_MAX_WIDTH = 640  # px; a photo then takes 40 to 80 kB
_JPEG_QUALITY = 82
_TOLERANCE = 0.4  # px, the largest error of a simplified outline
_MAX_NAMED = 14  # shapes; with more of them, names would hide a pane
_LEGEND = 6  # classes named below a label map


@dataclass(frozen=True)
class Shape:
    """An object or a detection on an image.

    Attributes:
        label: Class name.
        kind: ``found`` or ``missed`` for an object, ``correct`` or ``wrong`` for a detection.
        box: x, y, width, height in px of the embedded image.
        outline: The mask as SVG path data; empty without a mask.
        score: The score of a detection.
    """

    label: str
    kind: str
    box: tuple[float, float, float, float]
    outline: str = ''
    score: float | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its ground truth and its prediction.

    Attributes:
        name: File name.
        caption: The scores of this image.
        href: The image as a data URL.
        width: In px.
        height: In px.
        truth: Shapes on the left pane.
        predicted: Shapes on the right pane.
        label_maps: For segmentation, data URLs of the coloured label maps: ground truth and
            prediction.
        legend: Names and CSS colours of the largest classes in the label maps.
        show_classes: Whether to write class names beside shapes; a single class needs no name.
    """

    name: str
    caption: str
    href: str
    width: int
    height: int
    truth: list[Shape] = field(default_factory=list)
    predicted: list[Shape] = field(default_factory=list)
    label_maps: tuple[str, str] | None = None
    legend: list[tuple[str, str]] = field(default_factory=list)
    show_classes: bool = True

    def names(self, shapes: Sequence[Shape], large: bool = False) -> list[Name]:
        """Place the names of the shapes on a pane, inside the image and without overlap.

        A name is placed above its box, below it, or inside. If no place is free, or if the pane has
        many shapes, the name is only in the tooltip.

        Args:
            shapes: The shapes of the pane.
            large: Whether the image takes the width of the page; it then needs smaller letters.
        """
        if len(shapes) > _MAX_NAMED:
            return []
        size = max(self.width, self.height) / (38 if large else 24)
        taken: list[tuple[float, float, float]] = []
        names = []
        for shape in reversed(shapes):  # from the highest score
            score = '' if shape.score is None else f'{shape.score:.2f}'
            text = f'{shape.label if self.show_classes else ""} {score}'.strip()
            if not text:
                continue
            width = 0.58 * size * len(text)
            x, y, _, height = shape.box
            x = min(max(x, 0.2 * size), self.width - width)
            for baseline in (y - 0.3 * size, y + height + 1.1 * size, y + 1.1 * size):
                free = all(
                    abs(baseline - other) > size or x + width < left or x > right
                    for left, right, other in taken
                )
                if free and size <= baseline <= self.height - 0.2 * size:
                    taken.append((x, x + width, baseline))
                    names.append(Name(text, x, baseline, size))
                    break
        return names


@dataclass(frozen=True)
class Name:
    """A text on an image: x and y where its baseline starts, and its font size, all in px."""

    text: str
    x: float
    y: float
    size: float


def worst_and_best(
    scores: Mapping[int, float], weights: Mapping[int, float], number: int
) -> tuple[list[int], list[int]]:
    """Return the images with the lowest and with the highest scores; no image is in both lists.

    Args:
        scores: Score of each image.
        weights: Among equal scores, images with higher weights come first in both lists.
        number: How many images each list has at most.
    """
    number = min(number, len(scores) // 2)
    worst = sorted(scores, key=lambda i: (scores[i], -weights[i]))[:number]
    rest = [i for i in scores if i not in worst]
    best = sorted(rest, key=lambda i: (-scores[i], -weights[i]))[:number]
    return worst, best


def draw_worst_and_best(
    scores: Mapping[int, float],
    weights: Mapping[int, float],
    number: int,
    draw: Callable[[int], AnnotatedImage | None],
) -> dict[str, list[AnnotatedImage]]:
    """Draw the images of :func:`worst_and_best`, without those that cannot be read.

    Returns:
        A list of images for each of the keys ``worst`` and ``best``.
    """
    chosen = zip(('worst', 'best'), worst_and_best(scores, weights, number))
    return {name: [image for i in keys if (image := draw(i))] for name, keys in chosen}


def draw_detections(
    data: DetectionData, matches: Matches, image_id: int, threshold: float, caption: str
) -> AnnotatedImage | None:
    """Draw objects on the left and detections above a score threshold on the right.

    Returns:
        None if the image cannot be read.
    """
    loaded = _load(data.paths.get(image_id, ''))
    if loaded is None:
        return None
    image, scale = loaded
    height, width = image.shape[:2]
    with_masks = data.found.masks is not None
    truth = []
    for i in np.flatnonzero(matches.objects.image == image_id):
        annotation = data.api.dataset['annotations'][matches.objects.number[i] - 1]
        truth.append(
            Shape(
                label=data.classes[matches.objects.label[i]],
                kind='found' if matches.found_at[i] >= threshold else 'missed',
                box=_scaled(annotation['bbox'], scale),
                outline=_outline(data, annotation, scale),
            )
        )
    shown = matches.counted & (matches.images == image_id) & (matches.scores >= threshold)
    predicted = [
        Shape(
            label=data.classes[data.found.labels[i]],
            kind='correct' if matches.correct[i] else 'wrong',
            box=_scaled(data.found.boxes[i].tolist(), scale),
            outline=_path(rle.decode(_bytes(data.found.masks[i])), scale) if with_masks else '',
            score=float(matches.scores[i]),
        )
        for i in sorted(np.flatnonzero(shown), key=lambda i: matches.scores[i])  # highest on top
    ]
    name = Path(data.paths[image_id]).name
    return AnnotatedImage(
        *(name, caption, _jpeg(image), width, height, truth, predicted),
        show_classes=len(data.classes) > 1,
    )


def draw_label_maps(
    path: str,
    truth: np.ndarray,
    predicted: np.ndarray,
    palette: Sequence[Sequence[int]],
    classes: Sequence[str],
    caption: str,
) -> AnnotatedImage | None:
    """Draw the label maps of an image, (H, W) integers, in the colours of the palette.

    Pixels without a class are transparent.

    Returns:
        None if the image cannot be read.
    """
    loaded = _load(path)
    if loaded is None:
        return None
    image, _ = loaded
    height, width = image.shape[:2]
    maps = tuple(_coloured(labels, palette, (width, height)) for labels in (truth, predicted))
    counts = np.bincount(np.concatenate([m[m < len(classes)] for m in (truth, predicted)]))
    largest = [i for i in np.argsort(-counts)[:_LEGEND] if counts[i]]
    legend = [(classes[i], 'rgb({}, {}, {})'.format(*palette[i])) for i in largest]
    name = Path(path).name
    return AnnotatedImage(
        name, caption, _jpeg(image), width, height, label_maps=maps, legend=legend
    )


def _load(path: str) -> tuple[np.ndarray, float] | None:
    image = read_bgr(path) if path else None
    if image is None:
        return None
    scale = min(1.0, _MAX_WIDTH / image.shape[1])
    if scale < 1:
        size = (_MAX_WIDTH, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image, scale


def _jpeg(image: np.ndarray) -> str:
    return _data_url(image, '.jpg', [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def _data_url(image: np.ndarray, suffix: str, options: Sequence[int] = ()) -> str:
    _, encoded = cv2.imencode(suffix, image, list(options))
    kind = {'.jpg': 'jpeg', '.png': 'png'}[suffix]
    return f'data:image/{kind};base64,{base64.b64encode(encoded).decode()}'


def _coloured(labels: np.ndarray, palette: Sequence[Sequence[int]], size: tuple[int, int]) -> str:
    labels = cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    colours = np.array([*((*rgb[::-1], 255) for rgb in palette), (0, 0, 0, 0)], np.uint8)  # BGRA
    return _data_url(colours[np.where(labels < len(palette), labels, len(palette))], '.png')


def _outline(data: DetectionData, annotation: dict, scale: float) -> str:
    if not annotation.get('segmentation'):
        return ''
    return _path(data.api.annToMask(annotation), scale)


def _bytes(mask: dict) -> dict:
    counts = mask['counts']
    return dict(mask, counts=counts.encode() if isinstance(counts, str) else counts)


def _path(mask: np.ndarray, scale: float) -> str:
    """Return the outline of a (H, W) mask as SVG path data."""
    # At twice the size the outline runs around the pixels instead of through their centres.
    doubled = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return ''.join(_ring(contour, scale) for contour in contours)


def _ring(contour: np.ndarray, scale: float) -> str:
    points = cv2.approxPolyDP(contour, 2 * _TOLERANCE / scale, True)[:, 0] * (scale / 2)
    if len(points) < 3:
        return ''
    return 'M' + ' '.join(f'{x:.1f},{y:.1f}' for x, y in points) + 'Z'


def _scaled(box: Sequence[float], scale: float) -> tuple[float, float, float, float]:
    return tuple(round(value * scale, 1) for value in box)
