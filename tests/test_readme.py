"""The whole configs in the README and docs/own_config.md make models and optimizers."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from convnext_mm import ConvNeXt, LayerDecayOptimWrapperConstructor
from tests.conftest import ROOT


def configs_in(page):
    """Return the configs that bring the backbone into a model of OpenMMLab."""
    snippets = re.findall('```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)
    return [snippet for snippet in snippets if snippet.startswith("_base_ = ['mm")]


(README,) = configs_in('README.md')
DETECTION, RETINANET, SEGMENTATION = configs_in('docs/own_config.md')
CASCADE = DETECTION.replace('mask-rcnn_r50', 'cascade-mask-rcnn_r50')


@pytest.mark.parametrize(
    'snippet, scope, first_lr',
    [
        (README, 'mmdet', 1e-4 * 0.95**7),
        (DETECTION, 'mmdet', 1e-4 * 0.95**7),
        (CASCADE, 'mmdet', 1e-4 * 0.95**7),
        (RETINANET, 'mmdet', 1e-4 * 0.95**7),
        (SEGMENTATION, 'mmseg', 1e-4 * 0.9**7),
    ],
    ids=['readme', 'detection', 'cascade', 'retinanet', 'segmentation'],
)
def test_a_config_makes_a_model_and_its_optimizer(snippet, scope, first_lr, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(snippet)
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert isinstance(model.backbone, ConvNeXt)
    reader = model.neck if scope == 'mmdet' else model.decode_head
    assert tuple(reader.in_channels) == model.backbone.out_channels
    wrapper = cfg.optim_wrapper
    assert wrapper.constructor == 'convnext_mm.LayerDecayOptimWrapperConstructor'
    constructor = LayerDecayOptimWrapperConstructor(wrapper, wrapper.paramwise_cfg)
    assert constructor.param_groups(model)[0].lr == pytest.approx(first_lr)


def test_the_detection_config_of_the_readme_is_the_one_of_the_docs():
    assert README == DETECTION
