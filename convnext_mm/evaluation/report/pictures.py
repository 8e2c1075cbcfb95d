"""Images with ground truth and prediction side by side, drawn as SVG over one copy of the photo."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from convnext_mm.evaluation.report.detection import Inputs, Matches

_WIDTH = 640  # px at most of an embedded image; a photo then takes 40 to 80 kB
_QUALITY = 82  # of JPEG
_ROUGH = 0.4  # px that an outline may be off
_NAMED = 14  # shapes on a pane that there is room to name
_LEGEND = 6  # classes named below a label map


@dataclass(frozen=True)
class Shape:
    """An object or a detection on a picture.

    Attributes:
        label: Class name.
        kind: ``found`` or ``missed`` of an object, ``right`` or ``wrong`` of a detection.
        box: x, y, width, height in px of the picture.
        outline: SVG path data of the mask, if there is one.
        score: Of a detection.
    """

    label: str
    kind: str
    box: tuple[float, float, float, float]
    outline: str = ''
    score: float | None = None


@dataclass(frozen=True)
class Picture:
    """An image for the page, with what belongs on its two panes.

    Attributes:
        name: File name.
        caption: What makes it worth a look.
        href: The image as a data URL.
        width: In px.
        height: In px.
        truth: Shapes of the left pane.
        predicted: Shapes of the right one.
        label_maps: Data URLs of coloured label maps to lay over left and right, in segmentation.
        legend: Names and CSS colours of the classes that fill most of the label maps.
        several: Whether there are several classes, so that their names say something.
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
    several: bool = True

    def names(self, shapes: Sequence[Shape], large: bool = False) -> list[Name]:
        """Where to write the names of a pane's shapes: none over another, or out of the picture.

        A name goes above its box, or below, or inside; where all are taken, to the tooltip alone,
        and so do all names of a crowded pane.

        Args:
            shapes: Of the pane.
            large: Whether the picture has the page's width, so that letters may be smaller in it.
        """
        if len(shapes) > _NAMED:
            return []
        size = max(self.width, self.height) / (38 if large else 24)
        taken: list[tuple[float, float, float]] = []
        names = []
        for shape in reversed(shapes):  # the highest score first
            score = '' if shape.score is None else f'{shape.score:.2f}'
            text = f'{shape.label if self.several else ""} {score}'.strip()
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
    """A text on a picture: x and y of its baseline's start, and its size, in px."""

    text: str
    x: float
    y: float
    size: float


def worst_and_best(
    scores: Mapping[int, float], weights: Mapping[int, float], number: int
) -> tuple[list[int], list[int]]:
    """The images with the lowest and the highest scores, none of them in both.

    Args:
        scores: Score by image.
        weights: What decides among equal scores: the more of it, the sooner, at either end.
        number: How many of each at most.
    """
    number = min(number, len(scores) // 2)
    worst = sorted(scores, key=lambda i: (scores[i], -weights[i], i))[:number]
    rest = [i for i in scores if i not in worst]
    best = sorted(rest, key=lambda i: (-scores[i], -weights[i], i))[:number]
    return worst, best


def detections(
    inputs: Inputs, matches: Matches, image_id: int, threshold: float, caption: str
) -> Picture | None:
    """Objects left, detections from a score on right; None if the image cannot be read."""
    loaded = _load(inputs.paths.get(image_id, ''))
    if loaded is None:
        return None
    image, scale = loaded
    height, width = image.shape[:2]
    truth = []
    for i in np.flatnonzero(matches.objects.image == image_id):
        annotation = inputs.api.dataset['annotations'][matches.objects.number[i] - 1]
        truth.append(
            Shape(
                label=inputs.classes[matches.objects.label[i]],
                kind='found' if matches.found_at[i] >= threshold else 'missed',
                box=_scaled(annotation['bbox'], scale),
                outline=_outline(inputs, annotation, scale),
            )
        )
    prediction = next(p for p in inputs.predictions if p['img_id'] == image_id)
    here = matches.images == image_id
    predicted = []
    for i in np.argsort(prediction['scores'], kind='stable'):  # the highest on top
        if prediction['scores'][i] < threshold or not matches.counted[here][i]:
            continue
        x1, y1, x2, y2 = prediction['bboxes'][i].tolist()
        mask = prediction['masks'][i] if 'masks' in prediction else None
        predicted.append(
            Shape(
                label=inputs.classes[prediction['labels'][i]],
                kind='right' if matches.hits[here][i] else 'wrong',
                box=_scaled((x1, y1, x2 - x1, y2 - y1), scale),
                outline='' if mask is None else _path(rle.decode(_bytes(mask)), scale),
                score=float(prediction['scores'][i]),
            )
        )
    name = Path(inputs.paths[image_id]).name
    several = len(inputs.classes) > 1
    return Picture(*(name, caption, _jpeg(image), width, height, truth, predicted), several=several)


def label_maps(
    path: str,
    truth: np.ndarray,
    predicted: np.ndarray,
    palette: Sequence[Sequence[int]],
    classes: Sequence[str],
    caption: str,
) -> Picture | None:
    """An image with its label maps, (H, W) integers, in the data set's colours.

    Pixels that have no class in the ground truth stay clear on its pane. None if the image cannot
    be read.
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
    return Picture(name, caption, _jpeg(image), width, height, label_maps=maps, legend=legend)


def _load(path: str) -> tuple[np.ndarray, float] | None:
    image = cv2.imread(path) if path and Path(path).is_file() else None
    if image is None:
        return None
    scale = min(1.0, _WIDTH / image.shape[1])
    if scale < 1:
        size = (_WIDTH, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image, scale


def _jpeg(image: np.ndarray) -> str:
    return _data_url(image, '.jpg', [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def _data_url(image: np.ndarray, suffix: str, options: Sequence[int] = ()) -> str:
    _, encoded = cv2.imencode(suffix, image, list(options))
    kind = {'.jpg': 'jpeg', '.png': 'png'}[suffix]
    return f'data:image/{kind};base64,{base64.b64encode(encoded).decode()}'


def _coloured(labels: np.ndarray, palette: Sequence[Sequence[int]], size: tuple[int, int]) -> str:
    labels = cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    colours = np.array([*((*rgb[::-1], 255) for rgb in palette), (0, 0, 0, 0)], np.uint8)  # BGRA
    return _data_url(colours[np.where(labels < len(palette), labels, len(palette))], '.png')


def _outline(inputs: Inputs, annotation: dict, scale: float) -> str:
    if not annotation.get('segmentation'):
        return ''
    return _path(inputs.api.annToMask(annotation), scale)


def _bytes(mask: dict) -> dict:
    counts = mask['counts']
    return dict(mask, counts=counts.encode() if isinstance(counts, str) else counts)


def _path(mask: np.ndarray, scale: float) -> str:
    """The outline of a (H, W) mask as SVG path data."""
    # Twice as large, so that the outline runs around the pixels and not through their middles.
    doubled = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return ''.join(_ring(contour, scale) for contour in contours)


def _ring(contour: np.ndarray, scale: float) -> str:
    points = cv2.approxPolyDP(contour, 2 * _ROUGH / scale, True)[:, 0] * (scale / 2)
    if len(points) < 3:
        return ''
    return 'M' + ' '.join(_numbers(points)) + 'Z'


def _numbers(points: np.ndarray) -> Iterator[str]:
    for x, y in points:
        yield f'{x:.1f},{y:.1f}'


def _scaled(box: Sequence[float], scale: float) -> tuple[float, float, float, float]:
    return tuple(round(value * scale, 1) for value in box)
