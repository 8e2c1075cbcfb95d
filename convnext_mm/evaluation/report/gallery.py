"""The images of a report, as data that the script of the page draws.

An image is a JPEG with the shapes of its objects and detections, or with its label maps. The images
of a small data set are in the page itself. The images of a large one are in a folder beside it, and
a browser loads them when they are shown.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from convnext_mm.datasets.image_files import in_threads
from convnext_mm.evaluation.report.detection_scores import Matches
from convnext_mm.evaluation.report.error_kinds import Doubt, positions
from convnext_mm.evaluation.report.evaluated_data import DetectionData
from convnext_mm.visualization.image_files import read_bgr

FOLDER = 'report_images'
MAX_IMAGES = 5000  # on a page
_EMBEDDED = 60  # images of a data set without a folder
_OUTLINED = 1000  # images with their masks; a mask takes ten times the text of a box
# Width in px and JPEG quality of an image in the page, which takes 40 to 80 kB, and in the folder.
_IN_PAGE, _IN_FOLDER = (480, 80), (360, 70)
_CROP = 280  # px, the longer side of a crop
_MARGIN = 0.4  # of the size of an object, around it in a crop
_LEAST_CROP = 96  # px of the image
_TOLERANCE = 0.5  # px, the largest error of a simplified outline


class ImageStore:
    """Store the images of a page: in its text, or in a folder beside it.

    Args:
        folder: The folder of the page.
        embed: Whether to store them in the text of the page.

    Attributes:
        width: The largest width of an image, in px.
    """

    def __init__(self, folder: Path, embed: bool) -> None:
        self._folder = None if embed else folder
        self.width, self._quality = _IN_PAGE if embed else _IN_FOLDER
        self._numbers = count(1)

    def add(self, image: np.ndarray, suffix: str = '.jpg') -> str:
        """Store a BGR or BGRA image and return its address."""
        data = _encoded(image, suffix, self._quality)
        if self._folder is None:
            return _data_url(data, suffix)
        path = self._folder / FOLDER / f'{next(self._numbers):05d}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f'{FOLDER}/{path.name}'


# Draws one image: its key, where to store it, and whether to draw masks. None if it is unreadable.
Draw = Callable[[object, ImageStore, bool], dict | None]


def remove_old_images(folder: Path) -> None:
    """Remove the images of an earlier report from the folder of the page."""
    for path in (folder / FOLDER).glob('[0-9]*.[jp][pn]g'):
        path.unlink()


def _encoded(image: np.ndarray, suffix: str, quality: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == '.jpg' else []
    return cv2.imencode(suffix, image, options)[1].tobytes()


def _data_url(data: bytes, suffix: str) -> str:
    kind = {'.jpg': 'jpeg', '.png': 'png'}[suffix]
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def gallery(
    scores: Mapping[object, float],
    draw: Draw,
    folder: Path,
) -> list[dict]:
    """Draw images, several at a time, and return their data without the unreadable ones.

    Args:
        scores: The images with their scores, in their order on the page, worst first; the first
            :data:`MAX_IMAGES` are drawn.
        draw: Draws one image.
        folder: The folder of the page.
    """
    store = ImageStore(folder, embed=len(scores) <= _EMBEDDED)
    outlined = len(scores) <= _OUTLINED
    keys = list(scores)[:MAX_IMAGES]
    drawn = in_threads(lambda key: draw(key, store, outlined), keys)
    return [item | dict(rank=round(scores[key], 4)) for key, item in zip(keys, drawn) if item]


def read_scaled(path: str, width: int) -> tuple[np.ndarray, float] | None:
    """Return a BGR image, not wider than a width, and its scale; None if it cannot be read."""
    image = read_bgr(path) if path else None
    if image is None:
        return None
    scale = min(1.0, width / image.shape[1])
    if scale < 1:
        size = (width, max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image, scale


class DetectionImages:
    """Draw objects on the left and detections on the right; or a crop with both.

    Args:
        data: Ground truth and predictions.
        matches: Detections and objects.
        kinds: The kind of error of each detection, empty for a correct one.
        threshold: Detections with a lower score are not drawn.
    """

    def __init__(
        self, data: DetectionData, matches: Matches, kinds: np.ndarray, threshold: float
    ) -> None:
        self._data, self._matches, self._kinds = data, matches, kinds
        self._found = matches.found_at >= threshold
        self._shown = matches.counted & (matches.scores >= threshold)
        self._objects = positions(matches.objects.image)
        self._detections = positions(matches.images)

    def draw(
        self, image_id: object, caption: str, store: ImageStore, outlined: bool
    ) -> dict | None:
        """Return the data of an image; None if it cannot be read."""
        path = self._data.paths.get(image_id, '')
        loaded = read_scaled(path, store.width)
        if loaded is None:
            return None
        image, scale = loaded
        none = np.zeros(0, int)
        detections = self._detections.get(image_id, none)
        detections = detections[self._shown[detections]]
        # The highest score is on top.
        detections = detections[np.argsort(self._matches.scores[detections], kind='stable')]
        return dict(
            name=Path(path).name,
            caption=caption,
            src=store.add(image),
            size=[image.shape[1], image.shape[0]],
            panes=[
                [self._object(i, scale, outlined) for i in self._objects.get(image_id, none)],
                [self._detection(i, scale, outlined) for i in detections],
            ],
        )

    def crop(self, doubt: Doubt, caption: str) -> dict | None:
        """Return the data of the part of an image around a doubtful label."""
        path = self._data.paths.get(doubt.image, '')
        image = read_bgr(path) if path else None
        if image is None:
            return None
        shapes = [] if doubt.object is None else [self._object(doubt.object, 1.0, False)]
        shapes += [] if doubt.detection is None else [self._detection(doubt.detection, 1.0, False)]
        corners = np.array([[x, y, x + w, y + h] for *_, (x, y, w, h) in (s[:4] for s in shapes)])
        low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
        # A square, as far as the image reaches.
        side = max((1 + 2 * _MARGIN) * (high - low).max(), _LEAST_CROP)
        limits, middle = np.array(image.shape[1::-1]), (low + high) / 2
        x1, y1 = np.floor(middle - side / 2).clip(0, limits - 1).astype(int)
        x2, y2 = np.ceil(middle + side / 2).clip((x1 + 1, y1 + 1), limits).astype(int)
        part = image[y1:y2, x1:x2]
        scale = _CROP / max(part.shape[:2])
        size = [max(1, round(side * scale)) for side in part.shape[1::-1]]
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        resized = cv2.resize(part, size, interpolation=method)
        for shape in shapes:
            x, y, w, h = shape[3]
            shape[3] = scaled((x - x1, y - y1, w, h), scale)
        return dict(
            name=Path(path).name,
            caption=caption,
            kind=doubt.kind,
            src=_data_url(_encoded(resized, '.jpg', 80), '.jpg'),
            size=size,
            panes=[shapes],
        )

    # A shape is a list: class, kind, score (0 for an object), box, outline if there is a mask.

    def _object(self, i: int, scale: float, outlined: bool) -> list:
        data, entry = self._data, self._matches.objects[i]
        annotation = data.api.dataset['annotations'][entry.number - 1]
        shape = [int(entry.label), 'found' if self._found[i] else 'missed', 0]
        shape.append(scaled(annotation['bbox'], scale))
        if outlined and annotation.get('segmentation'):
            shape.append(outline(data.api.annToMask(annotation), scale))
        return shape

    def _detection(self, i: int, scale: float, outlined: bool) -> list:
        found = self._data.found
        shape = [int(found.labels[i]), str(self._kinds[i]) or 'correct']
        shape += [round(float(self._matches.scores[i]), 3), scaled(found.boxes[i], scale)]
        if outlined and found.masks is not None:
            shape.append(outline(rle.decode(_bytes(found.masks[i])), scale))
        return shape


def draw_label_maps(
    path: str,
    pair: tuple[np.ndarray, np.ndarray],
    palette: Sequence[Sequence[int] | None],
    caption: str,
    store: ImageStore,
) -> dict | None:
    """Return the data of an image with the label maps of ground truth and prediction.

    Args:
        path: The image file.
        pair: Ground truth and prediction, (H, W) integers.
        palette: The colour of each class; None for a class that is not painted, as the background.
        caption: The scores of the image.
        store: Where the images go.
    """
    loaded = read_scaled(path, store.width)
    if loaded is None:
        return None
    image, _ = loaded
    size = image.shape[1::-1]
    counts = sum(
        np.bincount(labels[labels < len(palette)], minlength=len(palette)) for labels in pair
    )
    return dict(
        name=Path(path).name,
        caption=caption,
        src=store.add(image),
        size=list(size),
        maps=[store.add(coloured(labels, palette, size), '.png') for labels in pair],
        classes=[int(i) for i in np.argsort(-counts, kind='stable') if counts[i]],
    )


def css_colours(palette: Iterable[Sequence[int] | None]) -> list[str]:
    """Return the colours of a palette as CSS has them."""
    return ['transparent' if c is None else 'rgb({}, {}, {})'.format(*c) for c in palette]


def filters(classes: Sequence[str], kinds: Mapping[str, str], threshold: float) -> dict:
    """Return the data of the filters of a gallery."""
    return dict(classes=list(classes), kinds=dict(kinds), threshold=threshold)


def coloured(
    labels: np.ndarray, palette: Sequence[Sequence[int] | None], size: tuple[int, int]
) -> np.ndarray:
    """Return a label map as BGRA of a size (width, height); pixels without a colour are clear."""
    labels = cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    clear = (0, 0, 0, 0)
    colours = [clear if colour is None else (*colour[::-1], 255) for colour in palette]
    colours = np.array([*colours, clear], np.uint8)
    return colours[np.where(labels < len(palette), labels, len(palette))]


def _bytes(mask: dict) -> dict:
    counts = mask['counts']
    return dict(mask, counts=counts.encode() if isinstance(counts, str) else counts)


def outline(mask: np.ndarray, scale: float) -> str:
    """Return the outline of a (H, W) mask as SVG path data."""
    # At twice the size the outline runs around the pixels instead of through their centres.
    doubled = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return ''.join(_ring(contour, scale) for contour in contours)


def _ring(contour: np.ndarray, scale: float) -> str:
    points = cv2.approxPolyDP(contour, 2 * _TOLERANCE / scale, True)[:, 0] * (scale / 2)
    if len(points) < 3:
        return ''
    return 'M' + ' '.join(f'{x:g},{y:g}' for x, y in points.round(1)) + 'Z'


def scaled(box: Sequence[float], scale: float) -> list[float]:
    """Return a box in the coordinates of a resized image."""
    return [round(float(value) * scale, 1) for value in box]
