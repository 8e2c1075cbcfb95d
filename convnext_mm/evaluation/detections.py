"""The detections of a test as arrays, with boxes as in COCO's results: x, y, width, height."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """D detections on any number of images.

    Attributes:
        tested: The ids of the images that were tested, also of images without detections.
        images: (D,) the image id of each detection; an id is any integer or text.
        labels: (D,) their labels.
        boxes: (D, 4) x, y, width and height in px, in double precision.
        scores: (D,) their scores, in double precision.
        masks: D RLEs, or None if the model predicts no masks.
        mask_scores: (D,) the scores of the masks, if they are not the scores of the boxes.
    """

    tested: tuple[Hashable, ...]
    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    masks: list[dict] | None = None
    mask_scores: np.ndarray | None = None

    @classmethod
    def of(cls, predictions: Sequence[Mapping]) -> Detections:
        """Convert predictions as MMDetection's CocoMetric keeps them.

        Args:
            predictions: For each image ``img_id`` and these arrays or tensors: ``bboxes`` (n, 4)
                as x1, y1, x2, y2 in px, ``scores`` (n,), ``labels`` (n,). With masks also
                ``masks``, n RLEs, and optionally ``mask_scores`` (n,).
        """
        labels = [_array(p['labels'], int).ravel() for p in predictions]
        corners = _joined([p['bboxes'] for p in predictions], float).reshape(-1, 4)
        tested = [p['img_id'] for p in predictions]
        with_masks = all('masks' in p for p in predictions)
        with_scores = with_masks and all('mask_scores' in p for p in predictions)
        return cls(
            tested=tuple(tested),
            images=np.repeat(np.array(tested, object), list(map(len, labels))),
            labels=_joined(labels, int),
            # Subtract in double precision, as pycocotools does after reading a JSON file.
            boxes=np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]),
            scores=_joined([p['scores'] for p in predictions], float),
            masks=[mask for p in predictions for mask in p['masks']] if with_masks else None,
            mask_scores=(
                _joined([p['mask_scores'] for p in predictions], float) if with_scores else None
            ),
        )

    def select(self, chosen: np.ndarray) -> Detections:
        """Return the detections at which a (D,) mask is true."""
        return replace(
            self,
            **{key: getattr(self, key)[chosen] for key in ('images', 'labels', 'boxes', 'scores')},
            masks=self.masks and [mask for mask, keep in zip(self.masks, chosen) if keep],
            mask_scores=None if self.mask_scores is None else self.mask_scores[chosen],
        )

    def __len__(self) -> int:
        return len(self.labels)


def _joined(arrays: Sequence[np.ndarray | Tensor], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *(_array(a, kind).ravel() for a in arrays)])


def _array(values: np.ndarray | Tensor, kind: type) -> np.ndarray:
    if isinstance(values, Tensor) and values.is_floating_point():
        values = values.double()  # numpy has no bfloat16
    return np.asarray(values, kind)
