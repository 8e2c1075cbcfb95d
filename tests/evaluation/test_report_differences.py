"""The published figures beside those of a run, and the settings in which it differs."""

import copy

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmseg.datasets import ADE20KDataset

from convnext_mm.config.reading import load_config
from convnext_mm.evaluation.report import about
from convnext_mm.evaluation.report.differences import differences, stated_by
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


def test_a_config_that_inherits_a_recipe_differs_in_what_it_changes_and_not_in_where_data_is(leaf):
    found = about.comparison(leaf, dict(box=40.0, mask=36.0), 5000, COCO, 'test')
    assert found.rows == [('box AP', 46.2, 40.0), ('mask AP', 41.7, 36.0)]
    assert found.remarks == []
    settings = {name: values for name, *values in found.settings}
    pipeline = settings.pop('train_dataloader.dataset.pipeline')
    assert [len(text) for text in pipeline] == [160, 160]  # and no more
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
    return dict(about.recipe(cfg, 'mine.py', None, split))


@pytest.mark.parametrize(
    'changes, start',
    [
        ({}, 'convnext_tiny_in22k'),
        ({'load_from': 'coco.pth'}, 'coco.pth'),
        ({'load_from': None, 'resume': True}, 'an earlier training, resumed'),
        ({'model.backbone.init_cfg': [dict(type='Pretrained', checkpoint='a.pth')]}, 'a.pth'),
        ({'model.backbone.init_cfg': None}, 'scratch'),
    ],
)
def test_a_training_knows_what_it_began_with(leaf, changes, start):
    assert rows(leaf, 'val', **changes)['trained from'] == start


def test_a_test_does_not_say_that_a_training_began_from_scratch(leaf):
    assert 'trained from' not in rows(leaf, 'test', **{'model.backbone.init_cfg': None})


def test_batch_and_rate_are_those_of_the_training_and_after_it_the_recipes(leaf):
    scaled = {'auto_scale_lr.enable': True}
    assert rows(leaf, 'val')['schedule'] == '36 epochs, batch of 4'
    assert rows(leaf, 'test', **scaled)['schedule'] == '36 epochs, batch of 16'
    assert 'lr 5e-05' in rows(leaf, 'val', **scaled)['optimizer']
    assert 'lr 0.0002' in rows(leaf, 'test', **scaled)['optimizer']


def test_a_training_knows_its_batch(leaf):
    leaf = Config(dict(leaf, launcher='none'))
    assert ('images a step', '16', '4') in differences(stated_by(leaf), leaf, 'val')


@pytest.mark.parametrize('augmented', [False, True])
def test_a_recipe_as_it_is_differs_in_nothing(augmented):
    cfg = load_config(UPERNET)
    if augmented:
        augment_test(cfg)
    (row,) = about.comparison(cfg, dict(mIoU=46.0), 2000, ADE, 'test').rows
    assert row[0] == ('mIoU, multi-scale' if augmented else 'mIoU')
    assert differences(stated_by(cfg), cfg, 'test') == []


def test_other_images_are_remarked_on_and_other_classes_not_compared():
    cfg = load_config(MASK_RCNN)
    few = about.comparison(cfg, dict(box=50.1), 150, COCO, 'test')
    assert few.remarks == [
        'Published on COCO 2017 validation, 5,000 images; here 150. The figures do not compare.'
    ]
    others = ('pet', *COCO[1:])
    assert about.comparison(cfg, dict(box=50.1), 5000, others, 'test') is None
    assert about.comparison(Config(dict(model={})), dict(box=50.1), 5000, COCO, 'test') is None


def test_figures_of_no_recipe_here_are_compared_without_settings():
    cfg = load_config(MASK_RCNN, {'published.box_AP': 99.0})
    found = about.comparison(cfg, dict(box=50.1), 5000, COCO, 'test')
    assert (found.rows, found.settings) == ([('box AP', 99.0, 50.1)], None)
