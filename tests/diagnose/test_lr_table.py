"""The table of learning rates equals the figures of the authors and warns of mistakes."""

import json

import pytest
from mmengine.config import Config

from convnext_mm.diagnose.lr_table import lr_table
from tests.conftest import ROOT, run_tool

ADE = 'configs/upernet/convnext_t_ade20k.py'


def table(path, **options):
    cfg = Config.fromfile(ROOT / path)
    cfg.merge_from_dict(options)
    return lr_table(cfg)


def test_the_rates_of_a_segmentor_follow_its_recipe():
    found = table(ADE)
    scales = [0.4783, 0.53144, 0.59049, 0.6561, 0.729, 1.0]
    assert [g.layers for g in found.groups] == [(i,) for i in (0, 1, 2, 3, 4, 7) for _ in range(2)]
    for group, scale in zip(found.groups[::2], scales, strict=True):
        assert group.lr_scale == pytest.approx(scale, abs=6e-6)
        assert group.rate.start == pytest.approx(1e-4 * scale * 1e-6, rel=1e-4)
        assert group.rate.peak == pytest.approx(1e-4 * scale, rel=1e-4)
        assert group.rate.end == 0
    assert not found.warnings and not found.frozen


def test_the_rates_of_a_detector_drop_by_ten_twice():
    heads = table('configs/cascade/convnext_t_coco.py').groups[-1]
    assert heads.rate.start == pytest.approx(2e-4 * 0.001)
    assert (heads.rate.peak, heads.rate.end) == (pytest.approx(2e-4), pytest.approx(2e-6))


def test_every_parameter_is_in_the_table_once_as_trained_or_frozen():
    found = table(ADE, **{'model.backbone.frozen_stages': 2})
    assert len(found.frozen) == 4 * 2 + 6 * 9  # stem, downsampling, two stages of three blocks
    names = [name for group in found.groups for name in group.names]
    assert len(names) == len(set(names)) and not set(names) & set(found.frozen)
    trained = sum(group.parameters for group in found.groups)
    assert trained + found.frozen_parameters == 60_242_636


def test_an_absolute_eta_min_that_flattens_layer_decay_is_a_warning():
    schedule = [dict(type='CosineAnnealingLR', eta_min=5e-5, by_epoch=False, begin=0, end=2000)]
    options = {
        'param_scheduler': schedule,
        'train_cfg.max_iters': 2000,
        'optim_wrapper.optimizer.lr': 1e-3,
        'optim_wrapper.paramwise_cfg.decay_rate': 0.6,
    }
    (warning,) = table(ADE, **options).warnings
    assert 'eta_min=5e-05 of CosineAnnealingLR' in warning
    assert 'the heads end at 5% of 0.001, 10 groups higher' in warning
    assert 'up to 179% of 2.8e-05' in warning and 'eta_min_ratio=0.05' in warning
    schedule[0] = dict(schedule[0], eta_min=None, eta_min_ratio=0.05)
    assert table(ADE, **options).warnings == ()


@pytest.mark.parametrize('kind', ['PolyLR', 'CosineAnnealingLR'])
def test_for_an_eta_min_as_high_as_the_rate_the_remedy_is_0(kind):
    schedule = [dict(type=kind, eta_min=1e-4, by_epoch=False, begin=0, end=200)]
    options = {'param_scheduler': schedule, 'train_cfg.max_iters': 200}
    (warning,) = table(ADE, **options).warnings
    assert 'the heads end at 100% of 0.0001' in warning and 'up to 209% of 4.78e-05' in warning
    assert warning.endswith('set param_scheduler.0.eta_min=0')
    schedule[0]['eta_min'] = 0
    assert table(ADE, **options).warnings == ()


def test_a_schedule_longer_than_the_training_is_a_warning():
    found = table('configs/cascade/convnext_t_coco.py', **{'train_cfg.max_epochs': 12})
    (warning,) = found.warnings
    assert 'ends after 12 epochs, too early for milestones 27 and 33 of MultiStepLR' in warning


def test_the_table_works_with_another_optimizer_wrapper_constructor():
    options = {
        'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
        'optim_wrapper.paramwise_cfg': None,
    }
    found = table(ADE, **options)
    (group,) = found.groups
    assert (group.layers, group.rate.peak, len(group.names)) == ((), pytest.approx(1e-4), 229)


def test_the_tool_prints_text_markdown_and_json():
    config = 'configs/mask_rcnn/convnext_t_coco.py'
    text = run_tool('lr_table.py', config).output.splitlines()
    assert text[0].split()[:3] == ['layer', 'lr', 'scale']
    assert len(text) == 1 + 16 + 1 and text[-1].endswith('frozen: 0 tensors with 0 parameters')
    assert len({len(line) for line in text[:-1]}) == 1  # aligned
    markdown = run_tool('lr_table.py', config, '--format', 'markdown').output.splitlines()
    assert markdown[1] == '|' + '--:|' * 8 and markdown[2].startswith('| 0 | 0.69834 |')
    data = json.loads(run_tool('lr_table.py', config, '--format', 'json').output)
    assert len(data['groups']) == 16 and 'backbone.norm3.bias' in data['groups'][-2]['names']


def test_a_setting_that_contradicts_the_backbone_is_one_clear_line():
    done = run_tool(
        'lr_table.py', ADE, '--cfg-options', 'optim_wrapper.paramwise_cfg.num_layers=12'
    )
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'error: paramwise_cfg: num_layers=12 does not fit backbone' in done.output
