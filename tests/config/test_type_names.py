"""Configs in pure Python: their types are classes, and become the names of a text config."""

import copy
import importlib

import mmcv.cnn
import mmcv.ops
import pytest
import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import nn

from convnext_mm import ConvNeXt
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import dicts_below, type_name, with_type_names
from convnext_mm.config.reading import load_config
from convnext_mm.config.schedule_checks import cut_off_schedule
from convnext_mm.datasets.own.adapt_config import adapt_config
from convnext_mm.diagnose.doctor.examination import check_recipe
from convnext_mm.diagnose.lr_table import lr_table
from convnext_mm.engine import train
from convnext_mm.messages.findings import errors_in
from tests.conftest import ROOT
from tests.datasets.test_adapt_config import data

pytestmark = pytest.mark.filterwarnings('ignore:The distutils package')  # MMEngine imports it.

PURE = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mmdet.models import MaskRCNN
from mmengine.optim.scheduler import LinearLR, MultiStepLR

model.update(dict(type=MaskRCNN))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.001, by_epoch=False, end=500),
    dict(type=MultiStepLR, milestones=[27, 33]),
]
"""
_ROOTS = [r for r in vars(registry).values() if isinstance(r, registry.Registry)]


def with_classes(node, scope):
    """Replace the names of types by the classes, as a config in pure Python has them."""
    if isinstance(node, (list, tuple)):
        return type(node)(with_classes(child, scope) for child in node)
    if not isinstance(node, dict):
        return node
    node = {key: with_classes(child, scope) for key, child in node.items()}
    if node.get('type') in ('RoIAlign', 'nms'):  # MMCV does not register them
        return {**node, 'type': getattr(mmcv.ops, node['type'])}
    for root in _ROOTS if isinstance(node.get('type'), str) else ():
        for found in (root.children.get(scope), root):
            kind = None if found is None else found.get(node['type'])
            if kind is not None:
                return {**node, 'type': kind}
    return node


def in_classes(cfg):
    importlib.import_module(f'{cfg.default_scope}.models')
    init_default_scope(cfg.default_scope)
    return Config(with_classes(cfg.to_dict(), cfg.default_scope), filename=cfg.filename)


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py',
    ],
)
def test_classes_become_the_names_of_the_text_config(name):
    text = get_config(name)
    pure = in_classes(text)
    assert not any(isinstance(node.get('type'), str) for node in dicts_below(pure._cfg_dict))
    pure.pop('default_scope')
    assert with_type_names(pure).to_dict() == text.to_dict()


def test_a_text_config_stays_the_same_object():
    cfg = load_config(ROOT / 'configs/mask_rcnn/convnext_t_coco.py')
    assert with_type_names(cfg) is cfg


class Own(nn.Module):
    """A class that is registered nowhere."""


def test_values_that_no_config_can_name_stay():
    join = ', '.join  # a method in C, which has no module
    assert with_type_names(Config(dict(default_scope='mmdet', join=join))).join is join


def test_classes_of_other_packages_are_named_by_their_module():
    cfg = Config(dict(a=dict(type=Own), b=dict(type=ConvNeXt), c=dict(type=torch.optim.AdamW)))
    cfg.d = [dict(type=nn.BatchNorm2d), (dict(type=print),)]
    named = with_type_names(cfg)
    assert named.a.type == f'{Own.__module__}.Own' and named.b.type == 'convnext_mm.ConvNeXt'
    assert (named.c.type, named.d[0].type) == ('AdamW', 'BN')


@pytest.mark.parametrize(
    'kind, name',
    [
        ('PolyLR', 'PolyLR'),
        ('mmengine.PolyLR', 'PolyLR'),
        ('mmengine.optim.scheduler.PolyLR', 'PolyLR'),
        (nn.Linear, 'Linear'),
        (None, 'None'),
    ],
)
def test_the_name_of_a_type_has_no_scope(kind, name):
    assert type_name(dict(type=kind)) == name
    assert type_name({}) == ''


@pytest.fixture
def pure(tmp_path):
    """Write a recipe in pure Python, in two files."""
    text = load_config(ROOT / 'configs/mask_rcnn/convnext_t_coco.py')
    text.pop('param_scheduler')
    text.model.pop('type')
    (tmp_path / 'base.py').write_text(text.pretty_text)
    path = tmp_path / 'pure.py'
    path.write_text(PURE)
    return path


def test_the_tools_take_a_config_in_pure_python(pure):
    cfg = load_config(pure)
    text = load_config(ROOT / 'configs/mask_rcnn/convnext_t_coco.py')
    assert (cfg.model, cfg.filename) == (text.model, str(pure))
    assert len(lr_table(cfg).groups) == 16
    assert not list(cut_off_schedule(cfg))
    changes = adapt_config(cfg, data('coco'))
    assert any('LinearLR, in iterations: end 115' in line for line in changes)
    assert build_on_meta(Config.fromstring(cfg.pretty_text, '.py')).roi_head.mask_head


def test_a_config_of_classes_trains_and_is_examined(small_detector, tmp_path):
    (tmp_path / 'text.py').write_text(small_detector)
    text = Config.fromfile(tmp_path / 'text.py')
    pure = in_classes(text)
    before = copy.deepcopy(pure.to_dict())
    assert not errors_in(check_recipe(load_config(pure)))
    done = train(pure, work_dir=tmp_path / 'run', options={'train_cfg.max_epochs': 1}, report=False)
    assert done.metrics and done.checkpoint
    assert pure.to_dict() == before
