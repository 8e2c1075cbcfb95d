"""The class confusions of a detector or a segmentor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Confusion(NamedTuple):
    """How often a class was predicted as another one.

    Attributes:
        truth: The class in the ground truth.
        predicted: The class in the prediction.
        count: Number of objects or pixels.
        share: The same as a share of the class in the ground truth.
    """

    truth: str
    predicted: str
    count: int
    share: float


def top_confusions(matrix: np.ndarray, classes: Sequence[str], number: int = 15) -> list[Confusion]:
    """Return the most frequent confusions of one class with another.

    Args:
        matrix: (R, C) counts; rows are ground truth, columns are predictions. Rows and columns
            after the last class stand for no object.
        classes: The K names of the classes.
        number: How many confusions to return at most.
    """
    rows = matrix[: len(classes)]
    confused = rows[:, : len(classes)].copy()
    np.fill_diagonal(confused, 0)
    sums = np.maximum(rows.sum(axis=1), 1)
    order = np.argsort(-confused, axis=None, kind='stable')[:number]
    return [
        Confusion(classes[r], classes[c], int(confused[r, c]), float(confused[r, c] / sums[r]))
        for r, c in zip(*np.unravel_index(order, confused.shape))
        if confused[r, c]
    ]
