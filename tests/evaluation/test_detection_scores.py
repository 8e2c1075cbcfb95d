"""The numbers of a detection report, for cases that can be computed by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO

from convnext_mm.evaluation.detections import Detections
from convnext_mm.evaluation.report.detection_scores import DetectionScores, f1
from convnext_mm.evaluation.report.evaluated_data import DetectionData

CLASSES = ('cat', 'dog')
CAT, DOG = 0, 1
# Boxes as x1, y1, x2, y2. With HERE, NEAR has an IoU of 0.3 and THERE an IoU of 0.
HERE, NEAR, THERE = (0, 0, 10, 10), (0, 0, 3, 10), (50, 50, 60, 60)


def scores_of(objects, found, crowds=()):
    """Evaluate boxes.

    Args:
        objects: (image, label, box) each.
        found: (image, label, box, score) each.
        crowds: Numbers of the objects that are crowds.
    """
    api = COCO()
    images = sorted({entry[0] for entry in (*objects, *found)})
    api.dataset = dict(
        images=[dict(id=i, width=100, height=100) for i in images],
        categories=[dict(id=10 * (i + 1), name=name) for i, name in enumerate(CLASSES)],
        annotations=[
            dict(
                id=number,
                image_id=image,
                category_id=10 * (label + 1),
                bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
                area=(box[2] - box[0]) * (box[3] - box[1]),
                iscrowd=int(number in crowds),
            )
            for number, (image, label, box) in enumerate(objects)
        ],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    predictions = [
        dict(
            img_id=image,
            bboxes=np.array([f[2] for f in found if f[0] == image], float).reshape(-1, 4),
            labels=np.array([f[1] for f in found if f[0] == image], int),
            scores=np.array([f[3] for f in found if f[0] == image], float),
        )
        for image in images
    ]
    return DetectionScores(
        DetectionData(CLASSES, api, [10, 20], Detections.of(predictions), {}), 'bbox'
    )


# COCO's AP is a mean over the recalls 0, 0.01, ... 1. Half of the objects reach 51 of those 101.
HALF = 50 / 101


@pytest.mark.parametrize(
    'error, cost, objects, found',
    [
        # A badly placed box misses the second object.
        ('Loc', HALF, [(1, CAT, HERE), (2, CAT, HERE)],
         [(1, CAT, HERE, 0.9), (2, CAT, NEAR, 0.8)]),
        # A box in the correct place has the wrong class. AP is a mean over the two classes.
        ('Cls', HALF / 2, [(1, CAT, HERE), (2, CAT, HERE), (3, DOG, HERE)],
         [(1, CAT, HERE, 0.9), (2, DOG, HERE, 0.8), (3, DOG, HERE, 0.95)]),
        # A badly placed box of the wrong class ranks above the dog: precision 1/2 for dogs.
        ('Both', 0.25, [(1, CAT, HERE), (2, DOG, HERE)],
         [(1, CAT, HERE, 0.9), (1, DOG, NEAR, 0.8), (2, DOG, HERE, 0.7)]),
        # A duplicate ranks between two correct boxes: precision 2/3 for the second half.
        ('Dupe', HALF / 3, [(1, CAT, HERE), (2, CAT, HERE)],
         [(1, CAT, HERE, 0.9), (1, CAT, HERE, 0.8), (2, CAT, HERE, 0.7)]),
        # A box without an object ranks first.
        ('Bkg', 0.5, [(1, CAT, HERE)], [(1, CAT, THERE, 0.9), (1, CAT, HERE, 0.8)]),
        # The second object has no detection.
        ('Miss', HALF, [(1, CAT, HERE), (2, CAT, HERE)], [(1, CAT, HERE, 0.9)]),
    ],
)  # fmt: skip
def test_each_type_of_error_is_counted_and_costs_the_ap_gained_by_fixing_it(
    error, cost, objects, found
):
    tide = scores_of(objects, found).tide
    assert tide[error] == dict(count=1, cost=pytest.approx(cost))
    assert [e for e, figures in tide.items() if figures['count']] == [error]


def test_a_detector_without_errors_costs_nothing():
    scores = scores_of([(1, CAT, HERE), (2, DOG, HERE)], [(1, CAT, HERE, 1), (2, DOG, HERE, 1)])
    assert all(figures == dict(count=0, cost=0) for figures in scores.tide.values())
    assert scores.summary['mAP'] == pytest.approx(1)
    assert scores.confusion(0.5).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.fixture
def mixed():
    """Three objects and a crowd: found at 0.9, found at 0.4, missed; one wrong box at 0.6."""
    return scores_of(
        [(1, CAT, HERE), (1, DOG, THERE), (2, DOG, HERE), (2, DOG, THERE)],
        [(1, CAT, HERE, 0.9), (1, CAT, THERE, 0.6), (1, DOG, THERE, 0.4), (2, DOG, THERE, 0.8)],
        crowds=[3],
    )


def test_a_threshold_keeps_detections_with_at_least_this_score(mixed):
    sweep = mixed.matches.sweep()
    assert sweep.thresholds.tolist() == [0.9, 0.6, 0.4]  # a detection in a crowd does not count
    assert sweep.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert sweep.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert sweep.best == 2 and sweep.f1[2] == pytest.approx(2 / 3)


def test_equal_scores_pass_a_threshold_together():
    sweep = scores_of([(1, CAT, HERE)], [(1, CAT, HERE, 0.5), (1, CAT, THERE, 0.5)]).matches.sweep()
    assert (sweep.thresholds, sweep.precision, sweep.recall) == ([0.5], [0.5], [1])


def test_correct_wrong_and_missed_are_counted_by_class_and_by_image(mixed):
    matches = mixed.matches
    by_class = [counts.tolist() for counts in matches.counts('label', [CAT, DOG], 0.5)]
    assert by_class == [[1, 0], [1, 0], [0, 2]]
    by_image = [counts.tolist() for counts in matches.counts('image', [1, 2], 0.4)]
    assert by_image == [[2, 0], [1, 0], [0, 1]]
    assert f1(*map(np.array, by_image)).tolist() == pytest.approx([4 / 5, 0])
    assert f1(np.array(0), np.array(0), np.array(0)) == -1


def test_images_may_have_text_as_ids():
    scores = scores_of([('a', CAT, HERE), ('b', DOG, HERE)], [('a', CAT, HERE, 0.5)])
    by_image = [counts.tolist() for counts in scores.matches.counts('image', ['a', 'b'], 0)]
    assert by_image == [[1, 0], [0, 0], [0, 1]]


def test_the_confusion_matrix_has_objects_in_rows_and_predictions_in_columns(mixed):
    # At 0.5 one cat is correct, one dog is predicted as a cat, one dog is missed.
    assert mixed.confusion(0.5).tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]


def test_a_model_without_detections_has_scores():
    scores = scores_of([(1, CAT, HERE)], [])
    assert scores.summary['mAP'] == 0
    assert len(scores.matches.sweep().thresholds) == 0
    assert scores.tide['Miss']['count'] == 1
    assert scores.confusion(0.5)[CAT].tolist() == [0, 0, 1]
