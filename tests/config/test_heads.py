"""The number of classes in the heads of MMDetection's and MMSegmentation's own models."""

import pytest
from mmengine.config import ConfigDict
from mmengine.hub import get_config

from convnext_mm.config.classes import dataset_metainfo, lazy_datasets
from convnext_mm.config.heads import check_heads, resize_heads
from convnext_mm.config.model import build_on_meta
from convnext_mm.diagnose.recipe_checks.class_names import check_class_names

# MMSegmentation warns of its own STDC.
pytestmark = pytest.mark.filterwarnings(
    'ignore:``build_pixel_sampler``:UserWarning', 'ignore:For binary segmentation:UserWarning'
)

DDRNET = 'mmseg::ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py'
STDC = 'mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py'


def config(name):
    cfg = get_config(name)
    cfg.model.backbone.init_cfg = None
    return cfg


@pytest.mark.parametrize(
    'name, heads',
    [
        ('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py', 3),
        ('mmdet::rpn/rpn_r50_fpn_1x_coco.py', 0),
        ('mmdet::htc/htc_r50_fpn_1x_coco.py', 6),
        (STDC, 3),
    ],
)
def test_heads_with_classes_of_their_own_are_not_refused(name, heads):
    """An RPN, a boundary head and heads for stuff. All other heads are checked."""
    cfg = config(name)
    model = build_on_meta(cfg)
    metainfo = next(lazy_datasets(cfg, 'train_dataloader')).metainfo
    assert not list(check_heads(model, metainfo))
    found = [f.what for f in check_heads(model, dict(classes=metainfo['classes'][:7]))]
    assert len(found) == (heads > 0)
    if heads > 3:
        assert f'and {heads - 3} more, but the data set has 7 classes' in found[0]


@pytest.mark.parametrize('name', [DDRNET, STDC])
def test_resized_heads_build_and_fit(name):
    """DDRNet has a list of losses with class weights, STDC a head for boundaries."""
    cfg = config(name)
    changes = list(resize_heads(cfg.model, 3))
    assert not list(check_heads(build_on_meta(cfg), dict(classes=('a', 'b', 'c'))))
    if name == DDRNET:
        weights = [loss.class_weight for loss in cfg.model.decode_head.loss_decode]
        assert weights == [[1.0, 1.0, 1.0]] * 2
        assert 'model.decode_head.loss_decode.1.class_weight = 1 for each class' in changes
    else:
        assert cfg.model.auxiliary_head[2].num_classes == 2


def test_classes_are_known_without_the_files_of_the_data_set():
    """MMSegmentation's class for VOC refuses to be built without them; the doctor says so."""
    cfg = get_config('mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py')
    assert dataset_metainfo(cfg)['classes'][:2] == ('background', 'aeroplane')
    assert [finding.what for finding in check_class_names(cfg)] == [
        'not checked: the files of the data set are missing'
    ]


def test_one_output_for_two_classes_becomes_one_for_each_of_three():
    head = ConfigDict(decode_head=dict(num_classes=2, out_channels=1))
    list(resize_heads(head, 3))
    assert head.decode_head == dict(num_classes=3, out_channels=3)
