"""The numbers of a detection report: from ground truth and predictions, and from nothing else.

Boxes and masks are matched with objects as COCO does it, by :mod:`convnext_mm.evaluation.coco`. One
IoU threshold, 0.5, decides what counts as found wherever a single one is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import hotcoco
import numpy as np
from mmdet.datasets.api_wrappers import COCO

from convnext_mm.evaluation import coco

IOU = 0.5
# Errors of TIDE (Bolya et al., ECCV 2020, section 2) by the evaluator's keys.
TIDE_ERRORS = {
    'Cls': ('class', 'a detection in the right place, of the wrong class'),
    'Loc': ('localisation', f'a detection of the right class, IoU between 0.1 and {IOU}'),
    'Both': (
        'class and localisation',
        'a detection of the wrong class, and not in the right place',
    ),
    'Dupe': ('duplicate', 'a detection of an object that a higher score has found'),
    'Bkg': ('background', 'a detection where no object is, IoU at most 0.1'),
    'Miss': ('missed', 'an object that is not found, nor would be if the errors above were mended'),
}


@dataclass(frozen=True)
class Inputs:
    """What a report is made of.

    Attributes:
        classes: Names in the order of the labels.
        api: The annotation file.
        cat_ids: Its category ids in the order of the labels.
        predictions: For each image ``img_id`` and, as arrays, ``bboxes`` (n, 4) as x1, y1, x2, y2
            in px, ``scores`` (n,), ``labels`` (n,), and ``masks`` as n RLEs if the model has any.
        paths: Image file by image id.
    """

    classes: tuple[str, ...]
    api: COCO
    cat_ids: list[int]
    predictions: list[dict]
    paths: dict[int, str]

    @property
    def has_masks(self) -> bool:
        annotations = self.api.dataset.get('annotations', ())
        return all('masks' in p for p in self.predictions) and all(
            a.get('segmentation') for a in annotations if a['category_id'] in set(self.cat_ids)
        )


@dataclass(frozen=True)
class Sweep:
    """Precision, recall and F1 over all classes as functions of the score threshold.

    Each array has an entry for every score that occurs, falling.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @cached_property
    def f1(self) -> np.ndarray:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(total > 0, total, 1)

    @property
    def best(self) -> int:
        """Index of the highest F1, of the highest threshold where several have it."""
        return int(self.f1.argmax())


class Scores:
    """One kind of prediction, boxes or masks, scored against the ground truth.

    Args:
        inputs: Ground truth and predictions.
        iou_type: ``bbox`` or ``segm``.
    """

    def __init__(self, inputs: Inputs, iou_type: str) -> None:
        self._truth = coco.ground_truth(inputs.api, inputs.cat_ids, masks=iou_type == 'segm')
        self._predictions = inputs.predictions
        self._iou_type = iou_type
        self.evaluated = self._evaluate(inputs.predictions)

    def _evaluate(self, predictions: list[dict]) -> hotcoco.COCOeval:
        return coco.evaluate(self._truth, predictions, self._iou_type)

    @cached_property
    def summary(self) -> dict[str, float]:
        """COCO's twelve figures; see :func:`convnext_mm.evaluation.coco.summary`."""
        return coco.summary(self.evaluated)

    @cached_property
    def by_class(self) -> list[dict[str, float]]:
        """The six precisions of each label."""
        return coco.class_ap(self.evaluated)

    @property
    def iou_thresholds(self) -> np.ndarray:
        return np.asarray(self.evaluated.params.iou_thrs)

    @property
    def recall_grid(self) -> np.ndarray:
        """(101,) the recalls that the precisions belong to."""
        return np.asarray(self.evaluated.params.rec_thrs)

    def precision(self) -> np.ndarray:
        """(IoU thresholds, 101, classes) COCO's precision at each recall; NaN without objects."""
        precision = self.evaluated.eval['precision'][:, :, :, 0, -1]
        return np.where(precision > -1, precision, np.nan)

    @cached_property
    def tide(self) -> dict[str, dict[str, float]]:
        """By :data:`TIDE_ERRORS`' keys ``count`` and ``cost``: the AP50 that mending it would add.

        Errors are mended one kind at a time, so that costs do not add up to what is missing.
        """
        errors = self.evaluated.tide_errors(pos_thr=IOU, bg_thr=0.1)
        return {
            key: dict(count=errors['counts'][key], cost=errors['delta_ap'][key])
            for key in TIDE_ERRORS
        }

    @cached_property
    def matches(self) -> Matches:
        """Every detection and object, and which belong together at the IoU threshold."""
        return Matches.of(self._truth, self._predictions, self.evaluated)

    def confusion(self, threshold: float) -> np.ndarray:
        """(K + 1, K + 1) counts: row the object's class, column the prediction's, last none.

        Detections below the threshold and those in crowds are left out. Here a detection may
        match an object of another class; the higher score chooses first.
        """
        chosen = self.matches.counted & (self.matches.scores >= threshold)
        images = np.cumsum([len(p['labels']) for p in self._predictions])[:-1]
        kept = [_only(p, mask) for p, mask in zip(self._predictions, np.split(chosen, images))]
        return self._evaluate(kept).confusion_matrix(iou_thr=IOU)['matrix'].astype(int)


@dataclass(frozen=True)
class Matches:
    """Detections and objects, matched in the order of the scores at an IoU of 0.5 and in a class.

    Attributes:
        images: (D,) image ids of the detections, in the order of the predictions.
        labels: (D,) their labels.
        scores: (D,) their scores.
        hits: (D,) whether an object was found.
        counted: (D,) False where COCO ignores a detection: in a crowd, or beyond 100 in an image.
        objects: Image id, label, COCO area in px, width and height of the box in px, and number in
            the annotation file of the (G,) objects that are not crowds.
        found_at: (G,) the score an object was found at, or -1.
    """

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    objects: np.recarray
    found_at: np.ndarray

    @classmethod
    def of(
        cls, truth: hotcoco.COCO, predictions: Sequence[dict], evaluated: hotcoco.COCOeval
    ) -> Matches:
        matched = evaluated.image_diagnostics(iou_thr=IOU)
        status, partner = matched['dt_status'], matched['gt_match']
        scores = np.concatenate([p['scores'] for p in predictions])
        numbers = range(1, len(scores) + 1)
        objects = [
            (a['image_id'], a['category_id'], a['area'], *a['bbox'][2:], a['id'])
            for a in truth.dataset['annotations']
            if not a['iscrowd']
        ]
        fields = [(name, float) for name in ('area', 'width', 'height')]
        fields = [('image', int), ('label', int), *fields, ('number', int)]
        return cls(
            images=np.repeat(
                [p['img_id'] for p in predictions], [len(p['labels']) for p in predictions]
            ),
            labels=np.concatenate([p['labels'] for p in predictions]),
            scores=scores,
            hits=np.array([status.get(i) == 'tp' for i in numbers], bool),
            counted=np.array([i in status for i in numbers], bool),
            objects=np.array(objects, fields).view(np.recarray),
            found_at=np.array(
                [scores[partner[o[-1]] - 1] if o[-1] in partner else -1.0 for o in objects]
            ),
        )

    def sweep(self) -> Sweep:
        """What a score threshold does, over all classes together."""
        order = np.argsort(-self.scores[self.counted], kind='stable')
        scores, hits = self.scores[self.counted][order], self.hits[self.counted][order]
        # A threshold lets all detections of a score through, or none.
        last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else []
        found = np.cumsum(hits)[last]
        return Sweep(
            thresholds=scores[last],
            precision=found / (np.asarray(last) + 1),
            recall=found / max(len(self.objects), 1),
        )

    def counts(self, by: str, keys: Sequence[int], threshold: float) -> tuple[np.ndarray, ...]:
        """Right, wrong and missed at a score threshold, for each of some labels or images.

        Args:
            by: ``label`` or ``image``.
            keys: Labels or image ids, rising.
            threshold: Detections below this score do not count.
        """
        of = dict(label=self.labels, image=self.images)[by]
        chosen = self.counted & (self.scores >= threshold)
        missed = self.found_at < threshold
        return tuple(
            np.bincount(np.searchsorted(keys, values[np.isin(values, keys)]), minlength=len(keys))
            for values in (
                of[chosen & self.hits],
                of[chosen & ~self.hits],
                self.objects[by][missed],
            )
        )


def f1(right: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """The harmonic mean of precision and recall; -1 where there is nothing to find or found."""
    total = 2 * right + wrong + missed
    return np.where(total > 0, 2 * right / np.where(total > 0, total, 1), -1.0)


def _only(prediction: dict, mask: np.ndarray) -> dict:
    kept = {key: prediction[key][mask] for key in ('bboxes', 'scores', 'labels')}
    if 'masks' in prediction:
        kept['masks'] = [m for m, keep in zip(prediction['masks'], mask) if keep]
    return dict(img_id=prediction['img_id'], **kept)
