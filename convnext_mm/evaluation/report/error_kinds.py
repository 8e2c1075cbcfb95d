"""The kind of error of each wrong detection, and the labels that the detections put in doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convnext_mm.evaluation.report.detection_scores import (
    AREA_LIMITS,
    IOU,
    DetectionScores,
    Matches,
)

_BACKGROUND = 0.1  # IoU, as in TIDE: at a lower one, a detection does not belong to an object


@dataclass(frozen=True)
class Overlaps:
    """The P pairs of a detection and an object of the same image with an IoU of at least 0.1.

    Attributes:
        detections: (P,) positions in the detections of :class:`Matches`.
        objects: (P,) positions in its objects.
        iou: (P,) the IoU of their boxes.
        same: (P,) whether both have the same class.
    """

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray
    same: np.ndarray

    @classmethod
    def of(cls, scores: DetectionScores) -> Overlaps:
        """Compare the detections that count with the objects of their images."""
        data, matches = scores.data, scores.matches
        annotations = data.api.dataset['annotations']
        boxes = np.array([annotations[n - 1]['bbox'] for n in matches.objects.number], float)
        boxes, by_image = boxes.reshape(-1, 4), positions(matches.objects.image)
        parts = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
        for image, found in positions(matches.images).items():
            objects, found = by_image.get(image), found[matches.counted[found]]
            if objects is not None and len(found):
                iou = box_iou(data.found.boxes[found], boxes[objects])
                d, o = np.nonzero(iou >= _BACKGROUND)
                parts.append((found[d], objects[o], iou[d, o]))
        d, o, iou = (np.concatenate(arrays) for arrays in zip(*parts))
        return cls(d, o, iou, matches.labels[d] == matches.objects.label[o])

    def best(self, by: np.ndarray, count: int, chosen: np.ndarray, values: np.ndarray) -> Best:
        """Return the largest of some values for each detection or object.

        Args:
            by: ``detections`` or ``objects`` of the pairs.
            count: The number of all detections or objects.
            chosen: (P,) the pairs to choose from.
            values: (P,) a value for each pair.
        """
        pairs = np.flatnonzero(chosen)
        pairs = pairs[np.argsort(values[pairs], kind='stable')]  # the largest is written last
        pair = np.full(count, -1)
        pair[by[pairs]] = pairs
        return Best(pair, np.where(pair >= 0, np.append(values, 0.0)[pair], 0.0))


@dataclass(frozen=True)
class Best:
    """The best pair of each detection or object, or -1, and its value, or 0."""

    pair: np.ndarray
    value: np.ndarray


def positions(keys: np.ndarray) -> dict[object, np.ndarray]:
    """Return the positions at which each key is."""
    found: dict[object, list[int]] = {}
    for position, key in enumerate(keys.tolist()):
        found.setdefault(key, []).append(position)
    return {key: np.array(places) for key, places in found.items()}


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (N, M) IoUs of boxes, (N, 4) and (M, 4) as x, y, width, height."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(*((b[..., :2] + b[..., 2:]) for b in (first[:, None], second[None])))
    shared = (high - low).clip(0).prod(2)
    areas = first[:, 2:].prod(1)[:, None] + second[:, 2:].prod(1)[None]
    return shared / np.maximum(areas - shared, 1e-9)


def error_kinds(matches: Matches, overlaps: Overlaps) -> np.ndarray:
    """Return a key of TIDE_ERRORS for each detection, or an empty text for a correct one.

    TIDE's order of the kinds is kept. TIDE itself computes the costs in the report.
    """
    count, pairs = len(matches.scores), (overlaps.detections,)
    same = overlaps.best(*pairs, count, overlaps.same, overlaps.iou).value
    other = overlaps.best(*pairs, count, ~overlaps.same, overlaps.iou).value
    conditions = {
        '': matches.correct,
        'Cls': (other >= IOU) & (same < IOU),
        'Dupe': same >= IOU,
        'Loc': same >= _BACKGROUND,
        'Both': other >= _BACKGROUND,
    }
    return np.select(list(conditions.values()), list(conditions), 'Bkg')


# --- labels to look at

_LEAST_DOUBT = 0.1  # weight; weaker doubts of a weak detector would fill the list
# The kinds of doubtful labels, with what speaks for them.
DOUBTS = {
    'missing label': 'a detection far from all labels: a label may be missing',
    'other class': 'a detection of another class on the object: the class may be wrong',
    'loose box': 'a detection of the same class that fits badly: the box may be loose or shifted',
    'nothing there': 'no detection near the label: it may have no object',
}


@dataclass(frozen=True)
class Doubt:
    """A label that may be wrong, or a place where one may be missing.

    Attributes:
        kind: A key of :data:`DOUBTS`.
        weight: How strong the doubt is, from 0 to 1.
        image: The image id.
        object: The position of the labelled object in :class:`Matches`; None if a label is missing.
        detection: The position of the detection that speaks against the label, if there is one.
        iou: The IoU of both.
    """

    kind: str
    weight: float
    image: object
    object: int | None = None
    detection: int | None = None
    iou: float | None = None


def doubtful_labels(scores: DetectionScores, overlaps: Overlaps, threshold: float) -> list[Doubt]:
    """Return the labels that confident detections speak against, the strongest doubt first.

    Doubts with a weight below 0.1 are left out, and so are images that were not tested.

    - ``missing label``: a detection from the threshold on that has an IoU below 0.1 with every
      object. The weight is its score.
    - ``other class``: a detection of another class, with an IoU of at least 0.5 and a higher score
      than all detections of the labelled class. The weight is the difference of the scores.
    - ``loose box``: the IoU with the detection of the same class is unusually low (below the lower
      quartile by more than 1.5 times the distance of the quartiles). The weight is the score times
      the share of the median IoU that is missing.
    - ``nothing there``: no detection of any class near the label. The weight is the share of the
      objects of the same size that are found, because a weak detector misses correct labels too.
    """
    matches = scores.matches
    objects, by, count = matches.objects, overlaps.objects, len(matches.objects)
    score, close = matches.scores[overlaps.detections], overlaps.iou >= IOU
    own = overlaps.best(by, count, overlaps.same & close, score)
    other = overlaps.best(by, count, ~overlaps.same & close, score)
    anything = overlaps.best(by, count, np.ones(len(score), bool), score)
    found = matches.found_at >= threshold
    doubts = []

    def add(kind: str, which: np.ndarray, weights: np.ndarray, pairs: np.ndarray) -> None:
        for i in np.flatnonzero(which):
            doubt = Doubt(kind, float(weights[i]), objects.image[i], int(i))
            if (pair := pairs[i]) >= 0:
                against, iou = int(overlaps.detections[pair]), float(overlaps.iou[pair])
                doubt = replace(doubt, detection=against, iou=iou)
            doubts.append(doubt)

    swapped = (other.value >= threshold) & (other.value > own.value)
    add('other class', swapped, other.value - own.value, other.pair)

    # The detection that was matched with the object, or else a confident one that has no object.
    free = ~matches.correct[overlaps.detections] & (score >= threshold)
    matched = matches.found_by[by] == overlaps.detections
    pair = overlaps.best(by, count, overlaps.same & (matched | free), matched * 2 + score).pair
    iou = np.where(pair >= 0, np.append(overlaps.iou, 0.0)[pair], 1.0)
    sure = np.where(pair >= 0, np.append(score, 0.0)[pair], 0.0)
    usual = iou[found] if found.any() else np.ones(1)
    lower, median, upper = np.quantile(usual, (0.25, 0.5, 0.75))
    loose = (sure >= threshold) & (iou < lower - 1.5 * (upper - lower)) & ~swapped
    add('loose box', loose, sure * (1 - iou / median), pair)

    size = np.digitize(objects.area, AREA_LIMITS)
    share = np.array([found[size == i].mean() if (size == i).any() else 0.0 for i in range(3)])
    nothing = anything.value < threshold
    weight = share[size] * (1 - anything.value / max(threshold, 1e-9))
    add('nothing there', nothing, weight, np.full(count, -1))

    count = len(matches.scores)
    near = overlaps.best(overlaps.detections, count, np.ones(len(by), bool), overlaps.iou).value
    alone = matches.counted & ~matches.correct & (matches.scores >= threshold) & (near == 0)
    doubts += [
        Doubt('missing label', float(matches.scores[i]), matches.images[i], detection=int(i))
        for i in np.flatnonzero(alone)
    ]
    tested = {*scores.data.found.tested}
    strong = [d for d in doubts if d.weight >= _LEAST_DOUBT and d.image in tested]
    return sorted(strong, key=lambda doubt: -min(doubt.weight, 1))
