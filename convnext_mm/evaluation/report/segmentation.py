"""The numbers of a segmentation report: one confusion matrix of pixels, and one for each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from hotcoco.semantic import SemanticEval


@dataclass(frozen=True)
class ImageScore:
    """How well an image was segmented.

    Attributes:
        index: Its place among the images.
        iou: The mean IoU of the classes that are in its ground truth or prediction.
        accuracy: The share of its labelled pixels that are right.
    """

    index: int
    iou: float
    accuracy: float


class SegmentationScores:
    """IoU and confusions over all images, as MMSegmentation's IoUMetric computes them.

    Args:
        classes: Names in the order of the labels.
        pairs: Ground truth and prediction of each image, (H, W) integer labels both.
        ignore_index: Pixels with this ground truth do not count.

    Raises:
        ValueError: A label is not among the classes.
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
        self.mean = {key: results[key] for key in ('mIoU', 'mAcc', 'aAcc', 'fwIoU')}
        self.per_class = results['per_class']  # name, IoU, Acc (-1 without pixels), areas in px
        self.confusion = total.confusion().astype(np.int64)  # row the truth, column the prediction

    def pixel_shares(self) -> np.ndarray:
        """(K,) the share of the labelled pixels that a class has."""
        areas = np.array([row['gt_area'] for row in self.per_class], float)
        return areas / max(areas.sum(), 1)


def top_confusions(matrix: np.ndarray, number: int = 15) -> list[tuple[int, int, int, float]]:
    """The largest entries off the diagonal: row, column, count, share of the row.

    Args:
        matrix: (R, C) counts; row the truth, column the prediction.
        number: How many at most.
    """
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind='stable')[:number]
    rows, columns = np.unravel_index(order, off.shape)
    sums = np.maximum(matrix.sum(axis=1), 1)
    return [
        (int(r), int(c), int(off[r, c]), float(off[r, c] / sums[r]))
        for r, c in zip(rows, columns)
        if off[r, c]
    ]
