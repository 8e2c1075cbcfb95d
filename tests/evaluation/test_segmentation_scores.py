"""The numbers of a segmentation report, and the predictions that a test writes for it."""

import pickle

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from convnext_mm.evaluation.report.confusions import top_confusions
from convnext_mm.evaluation.report.segmentation_scores import SegmentationScores
from convnext_mm.evaluation.results import pickled
from convnext_mm.evaluation.results.label_maps import pair_of
from convnext_mm.evaluation.results.metrics import DumpLabelMaps

CLASSES = ('sky', 'sea', 'land')


def test_iou_and_accuracy_equal_values_computed_by_hand():
    truth = np.array([[0, 0, 1, 1], [2, 2, 2, 255]])
    predicted = np.array([[0, 1, 1, 1], [2, 2, 0, 0]])
    scores = SegmentationScores(CLASSES, [(truth, predicted)])
    assert [row['IoU'] for row in scores.per_class] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert scores.mean['mIoU'] == pytest.approx(5 / 9)
    assert scores.mean['aAcc'] == scores.images[0].accuracy == pytest.approx(5 / 7)
    assert scores.confusion.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 2]]
    assert scores.pixel_shares().tolist() == pytest.approx([2 / 7, 2 / 7, 3 / 7])
    assert top_confusions(scores.confusion, CLASSES) == [
        ('sky', 'sea', 1, 1 / 2),
        ('land', 'sky', 1, 1 / 3),
    ]


def test_the_means_equal_those_of_mmsegmentation():
    rng = np.random.default_rng(0)
    pairs = [(rng.choice([0, 1, 2, 255], (20, 30)), rng.integers(0, 3, (20, 30))) for _ in '123']
    scores = SegmentationScores(CLASSES, pairs)
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [sample(*pair) for pair in pairs])
    expected = metric.evaluate(3)
    for name in ('mIoU', 'mAcc', 'aAcc'):
        assert 100 * scores.mean[name] == pytest.approx(expected[name], abs=0.005)


def test_a_label_without_a_class_is_an_error():
    with pytest.raises(ValueError, match='3'):
        SegmentationScores(CLASSES, [(np.array([[3]]), np.array([[0]]))])


def sample(truth, predicted):
    maps = dict(gt_sem_seg=truth, pred_sem_seg=predicted)
    return {key: dict(data=torch.from_numpy(value)[None]) for key, value in maps.items()}


def test_label_maps_are_stored_small_and_read_back(tmp_path):
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice([0, 149, 255], (64, 64)), rng.integers(0, 150, (64, 64))
    whole = sample(truth, predicted) | dict(
        seg_logits=dict(data=torch.zeros(150, 64, 64)), img_path='a.jpg'
    )
    dump = DumpLabelMaps(out_file_path=str(tmp_path / 'out.pkl'))
    dump.process({}, [whole])
    dump.evaluate(1)
    assert (tmp_path / 'out.pkl').stat().st_size < 3 * 64 * 64
    assert 'seg_logits' in whole  # other evaluators may need it
    predictions = pickled.read(tmp_path / 'out.pkl')
    again, found = pair_of(predictions[0])
    assert np.array_equal(again, truth) and np.array_equal(found, predicted)
    with open(tmp_path / 'out.pkl', 'rb') as file:
        assert pickle.load(file)[0]['img_path'] == 'a.jpg'
