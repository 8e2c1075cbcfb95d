"""Ground truth next to predictions, as a contact sheet."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch.nn.functional as F
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmengine.visualization import Visualizer
from torch import Tensor

_TILE_WIDTH = 320  # px
_COLUMNS = 4
_GAP = 12  # px below a tile
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


def contact_sheet(
    pictures: Sequence[Picture], visualizer: Visualizer, score_thr: float, path: Path
) -> None:
    """Write a PNG with each image's ground truth above its prediction.

    Args:
        pictures: Detection or segmentation samples with ground truth.
        visualizer: MMDetection's or MMSegmentation's, whose classes and colours are used.
        score_thr: Detections below this score are left out.
        path: PNG to write.
    """
    # One of the same kind without backends, so that drawing saves nothing on the side.
    artist = type(visualizer)(name='contact_sheet')
    artist.dataset_meta = visualizer.dataset_meta
    artist.alpha = 0.5  # what is under a mask must stay visible
    with warnings.catch_warnings():
        # Masks that touch the border are reported as out of bounds, object by object.
        warnings.filterwarnings('ignore', message='.*is out of bounds')
        tiles = [_tile(picture, artist, score_thr) for picture in pictures]
    height = max(tile.shape[0] for tile in tiles)
    tiles = [_padded(tile, below=height - tile.shape[0] + _GAP) for tile in tiles]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f'could not write {path}')


def _tile(picture: Picture, artist: Visualizer, score_thr: float) -> np.ndarray:
    """Ground truth above prediction, (H, W, 3) uint8 RGB, as wide as every other tile."""
    image = cv2.imread(picture.path)
    if image is None:
        raise OSError(f'{picture.path} cannot be read')
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    # Small images are enlarged before drawing, so that the labels do not cover them.
    scale = _TILE_WIDTH / image.shape[1]
    image = cv2.resize(image, (_TILE_WIDTH, round(image.shape[0] * scale)))
    sample = picture.sample.clone()
    for key in ('gt_instances', 'pred_instances'):
        if key in sample:
            setattr(sample, key, _rescaled(sample.get(key), scale, image.shape[:2]))
    for key in ('gt_sem_seg', 'pred_sem_seg'):
        if key in sample:
            labels = _resized(sample.get(key).data, image.shape[:2])
            setattr(sample, key, PixelData(data=labels))
    threshold = {'pred_score_thr': score_thr} if 'pred_instances' in sample else {}
    halves = []
    for truth in (True, False):
        artist.add_datasample(
            'tile', image, sample, draw_gt=truth, draw_pred=not truth, **threshold
        )
        halves.append(_captioned(artist.get_image(), 'ground truth' if truth else 'prediction'))
    return np.vstack(halves)


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    image = cv2.copyMakeBorder(image, 18, 0, 0, 0, cv2.BORDER_CONSTANT, value=_WHITE)
    style = dict(fontFace=cv2.FONT_HERSHEY_SIMPLEX, fontScale=0.45, color=(60, 60, 60))
    return cv2.putText(image, caption, (2, 13), **style, lineType=cv2.LINE_AA)


def _rescaled(instances: InstanceData, scale: float, size: tuple[int, int]) -> InstanceData:
    """Boxes and masks as they are on the image resized to `size` (height, width)."""
    instances = instances.clone()
    instances.bboxes = instances.bboxes * scale
    masks = instances.get('masks')
    if isinstance(masks, Tensor):
        instances.masks = _resized(masks, size)
    elif masks is not None:  # ground truth has MMDetection's mask structures
        instances.masks = masks.resize(size)
    return instances


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, H, W) masks or labels at `size` (height, width)."""
    if not len(maps):  # interpolate refuses a batch of none
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[None].float(), size, mode='nearest')[0].to(maps.dtype)


def _padded(image: np.ndarray, below: int) -> np.ndarray:
    return cv2.copyMakeBorder(image, 0, below, 3, 3, cv2.BORDER_CONSTANT, value=_WHITE)
