"""The report lists the labels that are wrong, and few others."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from convnext_mm.evaluation.report.detection_scores import DetectionScores
from convnext_mm.evaluation.report.error_kinds import (
    Overlaps,
    box_iou,
    doubtful_labels,
    error_kinds,
)
from tests.evaluation.test_detection_scores import CAT, DOG, HERE, NEAR, THERE, scores_of

SHARE = 0.04  # of the labels that are wrong in each of the four ways


def doubts_of(objects, found, threshold=0.3):
    scores = scores_of(objects, found)
    return doubtful_labels(scores, Overlaps.of(scores), threshold)


def test_the_iou_of_boxes_is_their_shared_area_over_their_joint_area():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [50, 50, 10, 10]], float)
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected)


@pytest.mark.parametrize(
    'kind, objects, found',
    [
        ('', [(1, CAT, HERE)], (1, CAT, HERE, 0.9)),
        ('Cls', [(1, CAT, HERE), (2, DOG, HERE)], (1, DOG, HERE, 0.9)),
        ('Loc', [(1, CAT, HERE)], (1, CAT, NEAR, 0.9)),
        ('Both', [(1, CAT, HERE), (2, DOG, HERE)], (1, DOG, NEAR, 0.9)),
        ('Bkg', [(1, CAT, HERE)], (1, CAT, THERE, 0.9)),
    ],
)
def test_a_detection_has_the_kind_of_error_that_tide_counts(kind, objects, found):
    scores = scores_of(objects, [found])
    kinds = error_kinds(scores.matches, Overlaps.of(scores))
    assert kinds.tolist() == [kind]
    counted = [key for key, error in scores.tide.items() if error['count'] and key != 'Miss']
    assert counted == ([kind] if kind else [])


def test_a_second_detection_of_an_object_is_a_duplicate():
    scores = scores_of([(1, CAT, HERE)], [(1, CAT, HERE, 0.9), (1, CAT, HERE, 0.8)])
    kinds = error_kinds(scores.matches, Overlaps.of(scores))
    assert kinds.tolist() == ['', 'Dupe']


def test_each_kind_of_doubt_names_its_label_and_its_detection():
    found = [(1, CAT, HERE, 0.9), (2, DOG, HERE, 0.8), (4, CAT, THERE, 0.7), (5, CAT, NEAR, 0.6)]
    objects = [(1, CAT, HERE), (2, CAT, HERE), (3, DOG, THERE), (5, CAT, HERE)]
    by_kind = {doubt.kind: doubt for doubt in doubts_of(objects, found)}
    assert by_kind.keys() == {'other class', 'nothing there', 'missing label', 'loose box'}
    swapped, missing = by_kind['other class'], by_kind['missing label']
    assert (swapped.image, swapped.object, swapped.detection) == (2, 1, 1)
    assert swapped.weight == pytest.approx(0.8)
    assert (missing.image, missing.object, missing.detection) == (4, None, 2)
    assert (by_kind['nothing there'].image, by_kind['nothing there'].detection) == (3, None)
    assert by_kind['loose box'].iou == pytest.approx(0.3)


def test_a_class_that_is_detected_with_the_highest_score_is_in_no_doubt():
    assert not doubts_of([(1, CAT, HERE)], [(1, CAT, HERE, 0.9), (1, DOG, HERE, 0.8)])


def test_a_perfect_detector_and_a_detector_without_detections_doubt_nothing():
    assert not doubts_of([(1, CAT, HERE), (1, DOG, THERE)], [(1, CAT, HERE, 1), (1, DOG, THERE, 1)])
    assert not doubts_of([(1, CAT, HERE)], [])


def test_labels_of_images_that_were_not_tested_are_in_no_doubt():
    objects = [(1, CAT, HERE), (2, CAT, HERE)]
    scores = scores_of(objects, [(1, CAT, HERE, 0.9)])
    assert [d.image for d in doubtful_labels(scores, Overlaps.of(scores), 0.5)] == [2]
    found = replace(scores.data.found, tested=(1,))
    scores = DetectionScores(replace(scores.data, found=found), 'bbox')
    assert not doubtful_labels(scores, Overlaps.of(scores), 0.5)


def test_most_wrong_labels_are_found_and_most_doubts_are_right():
    """The detector misses 3% of the objects and gives 3% another class; its boxes are a bit off."""
    rng = np.random.default_rng(1)
    labelled, found, wrong = [], [], {}
    for image in range(200):
        for row in range(4):
            x, y, label = 5 + 20 * row, 10.0 + 5 * row, int(rng.integers(2))
            box = np.array([x, y, x + rng.uniform(10, 16), y + rng.uniform(10, 16)])
            if rng.random() > 0.03:
                predicted = label if rng.random() > 0.03 else 1 - label
                score = rng.uniform(0.5, 1) if predicted == label else rng.uniform(0.3, 0.6)
                found.append((image, predicted, tuple(box + rng.normal(0, 0.4, 4)), score))
            kind = int(rng.random() / SHARE)
            if kind == 0:
                wrong[image, row] = 'missing label'
                continue
            if kind == 1:
                label, wrong[len(labelled)] = 1 - label, 'other class'
            elif kind == 2:
                box, wrong[len(labelled)] = box + np.array([-6, -6, 6, 6]), 'loose box'
            elif kind == 3:
                wrong[len(labelled)] = 'nothing there'
                place = np.array([x, 60, x + 12, 72])
                labelled.append((image, label, tuple(place)))
            labelled.append((image, label, tuple(box)))
        if rng.random() < 0.5:
            found.append((image, CAT, (80, 80, 92, 92), rng.uniform(0.05, 0.3)))
    doubts = doubts_of(labelled, found, threshold=0.4)
    injected = Counter(wrong.values())
    right = Counter(doubt.kind for doubt in doubts if wrong.get(doubt.object) == doubt.kind)
    right['missing label'] = sum(doubt.kind == 'missing label' for doubt in doubts)
    assert all(right[kind] >= 0.85 * number for kind, number in injected.items()), (right, injected)
    # The others are errors of the detector.
    assert sum(right.values()) >= 0.65 * len(doubts)
    first = doubts[: sum(injected.values()) // 2]
    found_first = sum(d.object is None or d.object in wrong for d in first)
    assert found_first >= 0.8 * len(first), Counter((d.kind, d.object in wrong) for d in first)
