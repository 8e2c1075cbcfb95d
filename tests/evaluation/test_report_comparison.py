"""A run is compared with published results: metrics, and settings that differ."""

import copy

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmseg.datasets import ADE20KDataset

from convnext_mm.config.reading import load_config
from convnext_mm.evaluation.report.comparison import (
    compare_with_published,
    find_recipe,
    settings_that_differ,
)
from convnext_mm.evaluation.report.provenance import recipe
from convnext_mm.evaluation.tta.config import augment_test
from tests.conftest import ROOT

MASK_RCNN = ROOT / 'configs/mask_rcnn/convnext_t_coco.py'
UPERNET = ROOT / 'configs/upernet/convnext_t_ade20k.py'
COCO, ADE = CocoDataset.METAINFO['classes'], ADE20KDataset.METAINFO['classes']

LEAF = f"""
_base_ = '{MASK_RCNN}'
data_root = '/elsewhere/coco/'
train_pipeline = [*_base_.train_pipeline, dict(type='Resize', scale=(64, 64))]
train_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
model = dict(
    backbone=dict(init_cfg=dict(checkpoint='convnext_tiny_in22k')), roi_head=dict(mask_head=None)
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [dict(_base_.param_scheduler[0], end=1000), *_base_.param_scheduler[1:]]
"""


@pytest.fixture(scope='module')
def leaf(tmp_path_factory):
    path = tmp_path_factory.mktemp('leaf') / 'mine.py'
    path.write_text(LEAF)
    return load_config(path)


def test_the_changed_settings_of_an_inherited_recipe_are_listed_but_not_the_data_folder(leaf):
    found = compare_with_published(leaf, dict(box=40.0, mask=36.0), 5000, COCO, 'test')
    assert found.rows == [('box AP', 46.2, 40.0), ('mask AP', 41.7, 36.0)]
    assert found.findings == []
    settings = {name: values for name, *values in found.settings}
    pipeline = settings.pop('train_dataloader.dataset.pipeline')
    assert [len(text) for text in pipeline] == [160, 160]  # cut
    assert settings.pop('model.roi_head.mask_head')[1] == 'None'
    assert settings == {
        'model.backbone.init_cfg.checkpoint': ['convnext_tiny_in1k', 'convnext_tiny_in22k'],
        'optim_wrapper.optimizer.lr': ['0.0001', '0.0002'],
        'param_scheduler.0.end': ['500', '1000'],
        'train_dataloader.batch_size': ['2', '4'],
    }


def rows(cfg, split, **changes):
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(changes)
    return dict(recipe(cfg, 'mine.py', None, split))


@pytest.mark.parametrize(
    'changes, start',
    [
        ({}, 'convnext_tiny_in22k'),
        ({'load_from': 'coco.pth'}, 'coco.pth'),
        ({'load_from': None, 'resume': True}, 'resumed from an earlier training'),
        ({'model.backbone.init_cfg': [dict(type='Pretrained', checkpoint='a.pth')]}, 'a.pth'),
        ({'model.backbone.init_cfg': None}, 'random'),
    ],
)
def test_a_training_names_its_initial_weights(leaf, changes, start):
    assert rows(leaf, 'val', **changes)['initial weights'] == start


def test_a_test_does_not_claim_that_a_training_had_random_weights(leaf):
    assert 'initial weights' not in rows(leaf, 'test', **{'model.backbone.init_cfg': None})


def test_batch_size_and_learning_rate_are_real_in_a_training_and_the_recipes_in_a_test(leaf):
    scaled = {'auto_scale_lr.enable': True}
    assert rows(leaf, 'val')['schedule'] == '36 epochs, global batch size 4'
    assert rows(leaf, 'test', **scaled)['schedule'] == '36 epochs, global batch size 16'
    assert 'lr 5e-05' in rows(leaf, 'val', **scaled)['optimizer']
    assert 'lr 0.0002' in rows(leaf, 'test', **scaled)['optimizer']


def test_a_training_compares_its_global_batch_size(leaf):
    leaf = Config(dict(leaf, launcher='none'))
    assert ('global batch size', '16', '4') in settings_that_differ(find_recipe(leaf), leaf, 'val')


@pytest.mark.parametrize('augmented', [False, True])
def test_an_unchanged_recipe_has_no_settings_that_differ(augmented):
    cfg = load_config(UPERNET)
    if augmented:
        augment_test(cfg)
    (row,) = compare_with_published(cfg, dict(mIoU=46.0), 2000, ADE, 'test').rows
    assert row[0] == ('mIoU, multi-scale' if augmented else 'mIoU')
    assert settings_that_differ(find_recipe(cfg), cfg, 'test') == []


def test_other_images_are_noted_and_other_classes_are_not_compared():
    cfg = load_config(MASK_RCNN)
    few = compare_with_published(cfg, dict(box=50.1), 150, COCO, 'test')
    assert [finding.what for finding in few.findings] == [
        'The published values are for 5,000 images of COCO 2017 validation; this run has 150. '
        'The values cannot be compared.'
    ]
    others = ('pet', *COCO[1:])
    assert compare_with_published(cfg, dict(box=50.1), 5000, others, 'test') is None
    assert (
        compare_with_published(Config(dict(model={})), dict(box=50.1), 5000, COCO, 'test') is None
    )


def test_without_the_recipe_only_the_metrics_are_compared():
    cfg = load_config(MASK_RCNN, {'published.box_AP': 99.0})
    found = compare_with_published(cfg, dict(box=50.1), 5000, COCO, 'test')
    assert (found.rows, found.settings) == ([('box AP', 99.0, 50.1)], None)
