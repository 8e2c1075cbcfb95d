"""Merging the views of an image undoes flips of boxes and masks and removes duplicates."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import mask2bbox
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from convnext_mm.evaluation.tta.instance import InstanceTTAModel

HEIGHT, WIDTH = 20, 30


class Detector(nn.Module):
    """A model with the methods that the wrapper needs. Merging calls none of them."""

    def test_step(self, data):
        raise AssertionError


def model():
    cfg = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=3)
    return InstanceTTAModel(module=Detector(), tta_cfg=ConfigDict(cfg))


def view(rows, columns, score, flip=None, label=0):
    """Return a view, perhaps flipped, with one instance that fills the rows and columns."""
    masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    masks[:, slice(*rows), slice(*columns)] = True
    sample = DetDataSample(metainfo=dict(ori_shape=(HEIGHT, WIDTH), flip_to_undo=flip))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[columns[0], rows[0], columns[1], rows[1]]], dtype=torch.float32),
        scores=torch.tensor([score]),
        labels=torch.tensor([label]),
        masks=masks,
    )
    return sample


@pytest.mark.parametrize(
    'flip, rows, columns',
    [
        ('horizontal', (2, 6), (20, 29)),
        ('vertical', (14, 18), (1, 10)),
        ('diagonal', (14, 18), (20, 29)),
    ],
)
def test_an_object_in_a_flipped_view_is_merged_with_the_same_object(flip, rows, columns):
    plain = view((2, 6), (1, 10), 0.6)
    flipped = view(rows, columns, 0.9, flip)
    (merged,) = model().merge_preds([[plain, flipped]])
    found = merged.pred_instances
    assert found.scores.tolist() == pytest.approx([0.9])
    assert found.bboxes.tolist() == [[1, 2, 10, 6]]
    assert mask2bbox(found.masks).tolist() == [[1, 2, 10, 6]]


def test_different_objects_and_classes_are_kept_in_the_order_of_their_scores():
    views = [
        view((2, 6), (1, 10), 0.3),
        view((2, 6), (1, 10), 0.8, label=1),
        view((12, 18), (20, 29), 0.5),
        view((12, 18), (1, 9), 0.1),
    ]
    (merged,) = model().merge_preds([views])
    assert merged.pred_instances.scores.tolist() == pytest.approx([0.8, 0.5, 0.3])
    assert merged.pred_instances.labels.tolist() == [1, 0, 0]


def test_views_without_detections_give_an_empty_result():
    empty = view((0, 1), (0, 1), 0.5)
    empty.pred_instances = empty.pred_instances[:0]
    (merged,) = model().merge_preds([[empty, empty.clone()]])
    assert len(merged.pred_instances) == 0
