"""The numbers of a detection report.

Boxes and masks are matched with objects by :mod:`convnext_mm.evaluation.coco_ap`, in the same way
as for COCO's AP. Where a number needs a single IoU threshold, it is 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import hotcoco
import numpy as np

from convnext_mm.evaluation import coco_ap
from convnext_mm.evaluation.detections import Detections
from convnext_mm.evaluation.report.evaluated_data import DetectionData

IOU = 0.5
AREA_LIMITS = (32**2, 96**2)  # px, COCO's limits between small, medium and large
# The error types of TIDE (Bolya et al., ECCV 2020, section 2) by their keys in the evaluator.
TIDE_ERRORS = {
    'Cls': ('class', f'a detection of the wrong class, IoU at least {IOU}'),
    'Loc': ('localisation', f'a detection of the correct class, IoU between 0.1 and {IOU}'),
    'Both': (
        'class and localisation',
        f'a detection of the wrong class, IoU between 0.1 and {IOU}',
    ),
    'Dupe': ('duplicate', 'a second detection of an object, with a lower score'),
    'Bkg': ('background', 'a detection without an object, IoU at most 0.1 with all objects'),
    'Miss': ('missed', 'an undetected object that no class or localisation error explains'),
}


@dataclass(frozen=True)
class Sweep:
    """Precision, recall and F1 over all classes at each score threshold.

    Each array has one entry per score that occurs, in descending order of the scores.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @property
    def best(self) -> int:
        """Index of the highest F1; among equals, of the highest threshold."""
        return int(self.f1.argmax())


class DetectionScores:
    """Boxes or masks, evaluated against the ground truth.

    Args:
        data: Ground truth and predictions.
        iou_type: ``bbox`` or ``segm``.

    Attributes:
        data: Ground truth and predictions.
    """

    def __init__(self, data: DetectionData, iou_type: str) -> None:
        self._truth = coco_ap.ground_truth(data.api, data.cat_ids, masks=iou_type == 'segm')
        self.data = data
        self._iou_type = iou_type
        self.evaluated = self._evaluate(data.found)

    def _evaluate(self, found: Detections) -> hotcoco.COCOeval:
        return coco_ap.evaluate(self._truth, found, self._iou_type)

    @cached_property
    def summary(self) -> dict[str, float]:
        """COCO's twelve metrics; see :func:`convnext_mm.evaluation.coco_ap.summary`."""
        return coco_ap.summary(self.evaluated)

    @cached_property
    def ap_by_class(self) -> list[dict[str, float]]:
        """The six average precisions of each label."""
        return coco_ap.ap_by_class(self.evaluated)

    @property
    def iou_thresholds(self) -> np.ndarray:
        return np.asarray(self.evaluated.params.iou_thrs)

    @property
    def recall_grid(self) -> np.ndarray:
        """(101,) the recalls at which :meth:`precision` is given."""
        return np.asarray(self.evaluated.params.rec_thrs)

    def precision(self) -> np.ndarray:
        """Return COCO's precision at each recall, (IoU thresholds, 101, classes).

        It is NaN for classes without objects.
        """
        precision = self.evaluated.eval['precision'][:, :, :, 0, -1]
        return np.where(precision > -1, precision, np.nan)

    @cached_property
    def tide(self) -> dict[str, dict[str, float]]:
        """For each key of :data:`TIDE_ERRORS` a ``count`` and a ``cost``.

        The cost is the AP50 that would be gained by fixing all errors of this type and no others.
        The costs therefore do not add up to the AP50 that is missing.
        """
        errors = self.evaluated.tide_errors(pos_thr=IOU, bg_thr=0.1)
        return {
            key: dict(count=errors['counts'][key], cost=errors['delta_ap'][key])
            for key in TIDE_ERRORS
        }

    @cached_property
    def matches(self) -> Matches:
        """The detections and objects, matched at the IoU threshold."""
        return Matches.of(self._truth, self.data.found, self.evaluated)

    def confusion(self, threshold: float) -> np.ndarray:
        """Return the (K + 1, K + 1) confusion matrix of the detections from a score threshold on.

        A row is a class of the ground truth, a column a predicted class; the last row and the last
        column stand for no object and no detection. Here a detection may match an object of
        another class. Higher scores are matched first. Detections in crowds are left out.
        """
        chosen = self.matches.counted & (self.matches.scores >= threshold)
        kept = self._evaluate(self.data.found.select(chosen))
        return kept.confusion_matrix(iou_thr=IOU)['matrix'].astype(int)


@dataclass(frozen=True)
class Matches:
    """D detections and G objects, matched within each class at IoU 0.5, highest score first.

    Attributes:
        images: (D,) image ids of the detections, in the order of the predictions.
        labels: (D,) their labels.
        scores: (D,) their scores.
        correct: (D,) whether the detection matches an object.
        counted: (D,) False for detections that COCO ignores: those in a crowd, and those after the
            first 100 of an image.
        objects: (G,) the objects that are not crowds: image id, label, COCO's area in px, width and
            height of the box in px, and number in the annotation file.
        found_by: (G,) the position of the matching detection, or -1.
    """

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    correct: np.ndarray
    counted: np.ndarray
    objects: np.recarray
    found_by: np.ndarray

    @property
    def found_at(self) -> np.ndarray:
        """(G,) the score of the matching detection, or -1."""
        return np.where(self.found_by >= 0, np.append(self.scores, -1.0)[self.found_by], -1.0)

    @classmethod
    def of(
        cls, truth: coco_ap.GroundTruth, found: Detections, evaluated: hotcoco.COCOeval
    ) -> Matches:
        matched = evaluated.image_diagnostics(iou_thr=IOU)
        status, partner = matched['dt_status'], matched['gt_match']
        scores, numbers = found.scores, range(1, len(found) + 1)
        ids = dict(enumerate(truth.numbers, 1))
        objects = [
            (ids[a['image_id']], a['category_id'], a['area'], *a['bbox'][2:], a['id'])
            for a in truth.coco.dataset['annotations']
            if not a['iscrowd']
        ]
        fields = [(name, float) for name in ('area', 'width', 'height')]
        fields = [('image', object), ('label', int), *fields, ('number', int)]
        return cls(
            images=found.images,
            labels=found.labels,
            scores=scores,
            correct=np.array([status.get(i) == 'tp' for i in numbers], bool),
            counted=np.array([i in status for i in numbers], bool),
            objects=np.array(objects, fields).view(np.recarray),
            found_by=np.array([partner.get(o[-1], 0) - 1 for o in objects], int),
        )

    def sweep(self) -> Sweep:
        """Return precision and recall at each score threshold, over all classes together."""
        order = np.argsort(-self.scores[self.counted], kind='stable')
        scores, correct = self.scores[self.counted][order], self.correct[self.counted][order]
        # Detections with equal scores pass a threshold together.
        last = np.flatnonzero(np.diff(scores, append=-1.0))
        found, detections, objects = np.cumsum(correct)[last], last + 1, len(self.objects)
        return Sweep(
            thresholds=scores[last],
            precision=found / detections,
            recall=found / max(objects, 1),
            f1=f1(found, detections - found, objects - found),
        )

    def counts(self, by: str, keys: Sequence[int], threshold: float) -> tuple[np.ndarray, ...]:
        """Count correct detections, wrong detections and missed objects for each label or image.

        Args:
            by: ``label`` or ``image``.
            keys: Labels or image ids.
            threshold: Detections with a lower score do not count.
        """
        places = {key: place for place, key in enumerate(keys)}
        groups = dict(label=self.labels, image=self.images)[by]
        chosen = self.counted & (self.scores >= threshold)
        missed = self.found_at < threshold
        return tuple(
            np.bincount(
                np.array([places[v] for v in values.tolist() if v in places], int),
                minlength=len(keys),
            )
            for values in (
                groups[chosen & self.correct],
                groups[chosen & ~self.correct],
                self.objects[by][missed],
            )
        )


def f1(correct: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of precision and recall; -1 without objects and detections."""
    total = 2 * correct + wrong + missed
    return np.where(total > 0, 2 * correct / np.where(total > 0, total, 1), -1.0)
