"""The README's snippets, put under the bases they are meant for."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from convnext_mm import ConvNeXt, LayerDecayOptimWrapperConstructor
from tests.conftest import ROOT

DETECTION, SEGMENTATION, OPTIMIZER = re.findall(
    '```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL
)


@pytest.mark.parametrize(
    'scope, base, snippet',
    [
        ('mmdet', 'cascade-mask-rcnn_r50_fpn.py', DETECTION),
        ('mmdet', 'mask-rcnn_r50_fpn.py', DETECTION),
        ('mmseg', 'upernet_r50.py', SEGMENTATION),
    ],
)
def test_a_snippet_makes_a_model_and_its_optimizer(scope, base, snippet, tmp_path):
    schedule = dict(mmdet='schedule_1x.py', mmseg='schedule_160k.py')[scope]
    bases = [f'{scope}::_base_/models/{base}', f'{scope}::_base_/schedules/{schedule}']
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {bases}\n{snippet}\n{OPTIMIZER}')
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert isinstance(model.backbone, ConvNeXt)
    readers = [model.neck] if scope == 'mmdet' else [model.decode_head]
    assert [tuple(reader.in_channels) for reader in readers] == [model.backbone.out_channels]
    wrapper = cfg.optim_wrapper
    assert wrapper.constructor == 'convnext_mm.LayerDecayOptimWrapperConstructor'
    constructor = LayerDecayOptimWrapperConstructor(wrapper, wrapper.paramwise_cfg)
    assert constructor.param_groups(model)[0].lr == pytest.approx(2e-4 * 0.7**7)
