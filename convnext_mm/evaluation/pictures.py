"""Ground truth next to predictions, as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer

_TILE_WIDTH = 320  # px
_COLUMNS = 4


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
    tiles = [_tile(picture, artist, score_thr) for picture in pictures]
    height = max(tile.shape[0] for tile in tiles)
    tiles = [_padded(tile, height - tile.shape[0]) for tile in tiles]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f'could not write {path}')


def _tile(picture: Picture, artist: Visualizer, score_thr: float) -> np.ndarray:
    """Ground truth above prediction, (H, W, 3) uint8 RGB, as wide as every other tile."""
    image = cv2.cvtColor(cv2.imread(picture.path), cv2.COLOR_BGR2RGB)
    # Small images are enlarged before drawing, so that the labels do not cover them.
    scale = _TILE_WIDTH / image.shape[1]
    image = cv2.resize(image, (_TILE_WIDTH, round(image.shape[0] * scale)))
    sample = picture.sample.clone()
    for key in ('gt_instances', 'pred_instances'):
        if key in sample:
            setattr(sample, key, _rescaled(sample.get(key), scale, image.shape[:2]))
    threshold = {'pred_score_thr': score_thr} if 'pred_instances' in sample else {}
    halves = []
    for truth in (True, False):
        artist.add_datasample(
            'tile', image, sample, draw_gt=truth, draw_pred=not truth, **threshold
        )
        # A thin frame holds the halves apart, a thick one below the tiles.
        halves.append(_padded(artist.get_image(), 4 if truth else 16))
    return np.vstack(halves)


def _rescaled(instances: InstanceData, scale: float, size: tuple[int, int]) -> InstanceData:
    """Boxes and masks as they are on the image resized to `size` (height, width)."""
    instances = instances.clone()
    instances.bboxes = instances.bboxes * scale
    masks = instances.get('masks')
    if masks is None:
        return instances
    if not isinstance(masks, torch.Tensor):  # ground truth has MMDetection's mask structures
        masks = masks.resize(size)
    elif len(masks):  # interpolate refuses a batch of none
        masks = F.interpolate(masks[None].float(), size, mode='nearest')[0].bool()
    instances.masks = masks
    return instances


def _padded(image: np.ndarray, below: int) -> np.ndarray:
    white = (255, 255, 255)
    return cv2.copyMakeBorder(image, 0, below, 2, 2, cv2.BORDER_CONSTANT, value=white)
