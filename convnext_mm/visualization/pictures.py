"""Ground truth above predictions, as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from convnext_mm.visualization.drawing import draw_instances, draw_labels, write
from convnext_mm.visualization.palette import palette

_TILE_WIDTH = 320  # px
_COLUMNS = 4
_GAP = 12  # px below a tile
_CAPTION = 13  # px, height of the letters
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Picture:
    """A validation image's path with what the annotation and the model say of it."""

    path: str
    sample: BaseDataElement

    @classmethod
    def of(cls, sample: BaseDataElement) -> Picture:
        """Keep a data sample on the CPU, beyond the iteration that made it."""
        return cls(sample.img_path, sample.detach().cpu())


def contact_sheet(pictures: Sequence[Picture], meta: Mapping, score_thr: float, path: Path) -> None:
    """Write a PNG with each image's ground truth above its prediction.

    Args:
        pictures: Detection or segmentation samples with ground truth.
        meta: The data set's classes and palette.
        score_thr: Detections below this score are left out.
        path: PNG to write.

    Raises:
        OSError: An image cannot be read, or the PNG not be written.
    """
    tiles = [_tile(picture, meta, score_thr) for picture in pictures]
    height = max(tile.shape[0] for tile in tiles)
    tiles = [_padded(tile, below=height - tile.shape[0] + _GAP) for tile in tiles]
    columns = min(len(tiles), _COLUMNS)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f'could not write {path}')


def _tile(picture: Picture, meta: Mapping, score_thr: float) -> np.ndarray:
    """Ground truth above prediction, (H, W, 3) uint8 RGB, as wide as every other tile."""
    image = cv2.imread(picture.path)
    if image is None:
        raise OSError(f'{picture.path} cannot be read')
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    # Small images are enlarged before drawing, so that the labels do not cover them.
    scale = _TILE_WIDTH / image.shape[1]
    image = cv2.resize(image, (_TILE_WIDTH, round(image.shape[0] * scale)))
    halves = [
        _captioned(_drawn(image, picture.sample, kind, meta, scale, score_thr), caption)
        for kind, caption in (('gt', 'ground truth'), ('pred', 'prediction'))
    ]
    return np.vstack(halves)


def _drawn(
    image: np.ndarray,
    sample: BaseDataElement,
    kind: str,
    meta: Mapping,
    scale: float,
    score_thr: float,
) -> np.ndarray:
    """An image with what a sample has of a kind: ``gt`` or ``pred``."""
    classes = meta['classes']
    if f'{kind}_sem_seg' in sample:
        labels = _resized(sample.get(f'{kind}_sem_seg').data, image.shape[:2])[0]
        return draw_labels(image, labels, classes, palette(meta))
    objects: InstanceData | None = sample.get(f'{kind}_instances')
    if objects is None:
        return image
    if 'scores' in objects:
        objects = objects[objects.scores >= score_thr]
    masks = objects.get('masks')
    if masks is not None:  # ground truth has MMDetection's mask structures
        tensor = isinstance(masks, Tensor)
        size = image.shape[:2]
        masks = _resized(masks, size) if tensor else masks.resize(size).to_ndarray()
    boxes = getattr(objects.bboxes, 'tensor', objects.bboxes).numpy() * scale
    scores = objects.scores.numpy() if 'scores' in objects else None
    # A single class is known.
    names = classes if len(classes) > 1 else ('',)
    labels = objects.labels.numpy()
    return draw_instances(image, boxes, labels, names, palette(meta), masks, scores)


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    image = cv2.copyMakeBorder(image, 18, 0, 0, 0, cv2.BORDER_CONSTANT, value=_WHITE)
    return write(image, caption, (0, 1), size=_CAPTION)


def _resized(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(K, H, W) masks or labels at `size` (height, width), as integers."""
    size = size[::-1]
    kind = np.int32  # which OpenCV resizes, and bools and int64 it does not
    resized = [
        cv2.resize(m.astype(kind), size, interpolation=cv2.INTER_NEAREST) for m in maps.numpy()
    ]
    return np.stack(resized) if resized else np.zeros((0, *size[::-1]), kind)


def _padded(image: np.ndarray, below: int) -> np.ndarray:
    return cv2.copyMakeBorder(image, 0, below, 3, 3, cv2.BORDER_CONSTANT, value=_WHITE)
