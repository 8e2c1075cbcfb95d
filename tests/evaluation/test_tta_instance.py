"""Merging the views of an image undoes flips of boxes and masks and removes duplicates."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import mask2bbox
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from convnext_mm.errors import UserError
from convnext_mm.evaluation.tta.config import augment_test
from convnext_mm.evaluation.tta.instance import InstanceTTAModel

HEIGHT, WIDTH = 20, 30


class Detector(nn.Module):
    """A model with the methods that the wrapper needs. Merging calls none of them."""

    def test_step(self, data):
        raise AssertionError


def model(detector=None, max_per_img=3):
    cfg = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=max_per_img)
    return InstanceTTAModel(module=detector or Detector(), tta_cfg=ConfigDict(cfg))


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


def test_without_boxes_objects_of_one_class_are_merged_if_their_masks_overlap():
    def boxless(*mask, **options):
        sample = view(*mask, **options)
        sample.pred_instances.bboxes *= 0
        return sample

    views = [
        boxless((2, 8), (1, 11), 0.9),
        boxless((2, 8), (19, 29), 0.7, flip='horizontal'),  # the first one again
        boxless((3, 9), (1, 11), 0.8),  # shares 5 of 7 rows with it
        boxless((6, 12), (1, 11), 0.6),  # shares 2 of 10
        boxless((2, 8), (1, 11), 0.5, label=1),
        boxless((2, 8), (11, 21), 0.4),
    ]
    (merged,) = model(max_per_img=9).merge_preds([views])
    found = merged.pred_instances
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.5, 0.4])
    assert found.bboxes.tolist() == mask2bbox(found.masks).tolist()


SOLO_HEAD = dict(in_channels=32, feat_channels=32, stacked_convs=1, num_grids=[8, 6, 4, 3, 2])
SMALL_HEADS = {
    'solo/solo_r50_fpn_1x_coco': dict(mask_head=SOLO_HEAD),
    'solov2/solov2_r50_fpn_1x_coco': dict(
        mask_head=dict(SOLO_HEAD, mask_feature_head=dict(feat_channels=32, out_channels=32))
    ),
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco': {},
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance': dict(
        bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
        mask_head=dict(mask_feature_head=dict(in_channels=32, feat_channels=32)),
    ),
}


def detector(name):
    """Build a small detector of MMDetection with random weights, which finds 20 objects."""
    cfg = Config(dict(model=get_config(f'mmdet::{name}.py').model))
    neck = cfg.model.neck
    levels = len(neck.in_channels)
    cfg.model.backbone = dict(
        type='convnext_mm.ConvNeXt',
        arch=dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8)),
        out_indices=range(-levels, 0),
    )
    neck.in_channels = [8] * levels
    if neck.type == 'FPN':
        neck.out_channels = 32
    test_cfg = dict(score_thr=0.0, nms_pre=50, max_per_img=20)
    cfg.merge_from_dict(dict(model=dict(SMALL_HEADS[name], test_cfg=test_cfg)))
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return MODELS.build(cfg.model).eval()


@pytest.mark.parametrize('name', SMALL_HEADS)
def test_three_equal_views_give_each_object_of_a_real_detector_once(name):
    image = torch.randint(256, (3, 64, 160), generator=torch.manual_seed(0)).byte()
    module = model(detector(name), max_per_img=100)

    def predict(*flips):
        samples = [
            DetDataSample(
                metainfo=dict(
                    **dict.fromkeys(('ori_shape', 'img_shape', 'batch_input_shape'), (64, 160)),
                    **dict(scale_factor=(1.0, 1.0), flip=flip, flip_direction='horizontal'),
                )
            )
            for flip in flips
        ]
        inputs = [[image.flip(2) if flip else image] for flip in flips]
        with torch.no_grad():
            (result,) = module.test_step(
                dict(inputs=inputs, data_samples=[[sample] for sample in samples])
            )
        return result.pred_instances

    once, thrice = predict(False), predict(False, False, False)
    assert 2 <= len(once) <= 20
    assert thrice.scores.tolist() == once.scores.tolist()
    assert torch.equal(thrice.masks, once.masks)
    assert len(predict(False, True)) >= len(once)


def test_a_detector_without_instances_is_refused_in_one_line():
    with pytest.raises(UserError, match='--tta: Detector predicts no instances'):
        model().merge_preds([[DetDataSample()]])


def test_views_that_cannot_be_merged_are_refused_before_the_model_is_built():
    cfg = Config(
        dict(
            model=dict(type='NoModel'),
            tta_model=dict(type='DetTTAModel'),
            tta_pipeline=[dict(type='LoadImageFromFile')],
            test_evaluator=dict(type='CocoMetric', metric=['bbox', 'segm']),
            test_dataloader=dict(dataset=dict(type='CocoDataset')),
        )
    )
    with pytest.raises(UserError, match='merges boxes, and this config is evaluated on masks'):
        augment_test(cfg)
    cfg.test_evaluator = [dict(type='CocoPanopticMetric')]
    with pytest.raises(UserError, match='panoptic segmentation cannot be merged'):
        augment_test(cfg)
    cfg.test_evaluator = dict(type='CocoMetric', metric='bbox')
    augment_test(cfg)
    assert cfg.model.type == 'DetTTAModel'
