"""Draw the annotations or the predictions of OpenMMLab's data samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from convnext_mm.messages.wording import listed
from convnext_mm.visualization.contact_sheet import contact_sheet, with_caption
from convnext_mm.visualization.drawing import draw_instances, draw_labels
from convnext_mm.visualization.image_files import read_bgr, write_image
from convnext_mm.visualization.palette import palette

_TILE_WIDTH = 320  # px
_SHEET_WIDTH = 1320  # px, four tiles


def write_prediction_sheet(
    samples: Sequence[BaseDataElement], meta: Mapping, score_thr: float, path: Path
) -> None:
    """Write a PNG that shows the ground truth of each image above its prediction.

    Args:
        samples: Samples of a detector, segmentor or classifier on the CPU, with ground truth and
            prediction. An image that was classified is shown once, with a text above it.
        meta: The classes and the palette of the data set.
        score_thr: Detections with a lower score are not drawn.
        path: PNG to write.

    Raises:
        OSError: An image cannot be read, or the PNG cannot be written.
    """
    tiles = [_truth_above_prediction(sample, meta, score_thr) for sample in samples]
    write_image(contact_sheet(tiles, _SHEET_WIDTH)[..., ::-1], path)


def _truth_above_prediction(sample: BaseDataElement, meta: Mapping, score_thr: float) -> np.ndarray:
    """Return a tile, (H, W, 3) uint8 RGB; all tiles have the same width."""
    image = read_bgr(sample.img_path)
    if image is None:
        raise OSError(f'{sample.img_path}: cannot be read')
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    # Small images are enlarged before drawing, so that the labels do not cover them.
    scale = _TILE_WIDTH / image.shape[1]
    image = cv2.resize(image, (_TILE_WIDTH, round(image.shape[0] * scale)))
    if 'pred_score' in sample:
        return with_caption(image, _classes_of(sample, meta['classes']))
    return np.vstack(
        [
            with_caption(draw_sample(image, sample, kind, meta, scale, score_thr), caption)
            for kind, caption in (('gt', 'ground truth'), ('pred', 'prediction'))
        ]
    )


def _classes_of(sample: BaseDataElement, classes: Sequence[str]) -> str:
    """Return the text above an image that was classified."""
    scores = sample.pred_score
    truth = listed(classes[i] for i in sample.gt_label.tolist())
    best = int(scores.argmax())
    predicted = 'correct' if best in sample.gt_label else f'predicted {classes[best]}'
    return f'{truth}: {predicted}, {scores[best]:.0%}'


def draw_sample(
    image: np.ndarray,
    sample: BaseDataElement,
    kind: str,
    meta: Mapping,
    scale: float,
    score_thr: float = 0.0,
) -> np.ndarray:
    """Draw the objects or the label map of a sample on a copy of its image.

    Args:
        image: (H, W, 3) uint8 RGB.
        sample: A detection or segmentation sample on the CPU.
        kind: ``gt`` or ``pred``.
        meta: The classes and the palette of the data set.
        scale: Factor from the coordinates of the boxes to this image.
        score_thr: Objects with a lower score are not drawn.
    """
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
    if masks is not None:  # annotations have MMDetection's mask structures
        size = image.shape[:2]
        is_tensor = isinstance(masks, Tensor)
        masks = _resized(masks, size) if is_tensor else masks.resize(size).to_ndarray()
    boxes = getattr(objects.bboxes, 'tensor', objects.bboxes).numpy() * scale
    scores = objects.scores.numpy() if 'scores' in objects else None
    names = classes if len(classes) > 1 else ('',)  # a single class needs no name
    labels = objects.labels.numpy()
    by_class = palette(meta)
    colours = [by_class[label] for label in labels]
    return draw_instances(image, boxes, labels, names, colours, masks, scores)


def _resized(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Return (K, H, W) masks or labels as integers at `size` (height, width)."""
    height, width = size
    resized = [
        # OpenCV resizes int32, but neither bool nor int64.
        cv2.resize(m.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)
        for m in maps.numpy()
    ]
    return np.stack(resized) if resized else np.zeros((0, height, width), np.int32)
