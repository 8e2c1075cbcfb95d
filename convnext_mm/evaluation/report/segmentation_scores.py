"""The numbers of a segmentation report, over all images and for each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from hotcoco.semantic import SemanticEval

from convnext_mm.evaluation.table import SEGMENTATION_METRICS


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image.

    Attributes:
        index: Position of the image among all images.
        iou: Mean IoU over the classes in its ground truth or its prediction.
        accuracy: Share of its labelled pixels with the correct class.
    """

    index: int
    iou: float
    accuracy: float


class SegmentationScores:
    """IoU and class confusions, computed as in the IoUMetric of MMSegmentation.

    Args:
        classes: Names in the order of the labels.
        pairs: For each image ground truth and prediction, both (H, W) integer labels.
        ignore_index: Pixels with this label in the ground truth do not count.

    Raises:
        ValueError: A label is not the index of a class.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        pairs: Iterable[tuple[np.ndarray, np.ndarray]],
        ignore_index: int = 255,
    ) -> None:
        self.classes = classes
        total = SemanticEval(list(classes), ignore_index=ignore_index)
        self.images = []
        for index, (truth, predicted) in enumerate(pairs):
            one = SemanticEval(list(classes), ignore_index=ignore_index)
            one.update(truth, predicted)
            total.merge(one)
            results = one.results()
            self.images.append(ImageScore(index, results['mIoU'], results['aAcc']))
        results = total.results()
        self.mean = {key: results[key] for key in SEGMENTATION_METRICS}
        self.per_class = results['per_class']  # name, IoU and Acc (-1 without pixels), areas in px
        self.confusion = total.confusion().astype(np.int64)  # rows are ground truth

    def pixel_shares(self) -> np.ndarray:
        """Return the share of each class in the labelled pixels, (K,)."""
        areas = np.array([row['gt_area'] for row in self.per_class], float)
        return areas / max(areas.sum(), 1)
