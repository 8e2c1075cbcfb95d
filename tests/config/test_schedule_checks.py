"""Schedules that are probably not meant, and what a training says of them before it starts."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OneCycleLR, OptimWrapper, PolyLR

from convnext_mm.config.schedule_checks import (
    cut_off_schedule,
    erased_decay,
    schedule_of_another_run,
)
from convnext_mm.diagnose.lr_table import lr_table
from convnext_mm.engine import train
from convnext_mm.engine.hooks.schedule import ScheduleHook
from convnext_mm.errors import UserError
from tests.conftest import ROOT, run_tool

COCO = 'configs/mask_rcnn/convnext_t_coco.py'
ADE = 'configs/upernet/convnext_t_ade20k.py'


def config(path, **options):
    cfg = Config.fromfile(ROOT / path)
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize(
    'path, length, late, remedy',
    [
        (
            *(COCO, {'train_cfg.max_epochs': 12}, 'milestones 27 and 33 of MultiStepLR'),
            {'param_scheduler.1.end': 12, 'param_scheduler.1.milestones': [9, 11]},
        ),
        (
            *(COCO, {'train_cfg.max_epochs': 33}, 'milestone 33 of MultiStepLR'),
            {'param_scheduler.1.end': 33, 'param_scheduler.1.milestones': [24, 30]},
        ),
        (
            *(ADE, {'train_cfg.max_iters': 40_000}, 'end 160,000 of PolyLR'),
            {'param_scheduler.1.end': 40_000},
        ),
        (
            'configs/cascade/convnext_atto_shapes.py',
            *({'train_cfg.max_epochs': 2}, 'T_max 5 of CosineAnnealingLR'),
            {'param_scheduler.1.end': 2, 'param_scheduler.1.T_max': 2},
        ),
    ],
)
def test_what_a_shorter_training_cuts_off_is_said_with_what_to_write(path, length, late, remedy):
    (finding,) = cut_off_schedule(config(path, **length))
    assert finding.what.endswith(f'too early for {late}')
    assert finding.remedy.startswith('rescale it: --cfg-options ')
    for key, value in remedy.items():
        text = str(value).replace(' ', '')
        options = finding.remedy.split()
        assert f'{key}="{text}"' in options or f'{key}={value}' in options
    assert not list(cut_off_schedule(config(path, **length, **remedy)))


@pytest.mark.parametrize('path', [COCO, ADE])
def test_a_recipe_as_it_is_and_a_longer_training_are_not_warned_of(path):
    key = 'train_cfg.max_epochs' if path == COCO else 'train_cfg.max_iters'
    assert not list(cut_off_schedule(config(path)))
    assert not list(cut_off_schedule(config(path, **{key: 200_000})))


@pytest.mark.parametrize(
    'scheduler, late, remedy',
    [
        (
            dict(type='OneCycleLR', eta_max=1.0, total_steps=90),
            'total_steps 90 of',
            'total_steps=30',
        ),
        (
            dict(type='mmengine.CosineRestartLR', periods=[30, 60]),
            'periods 90',
            'periods="[10,20]"',
        ),
        (dict(type='ConstantLR', end=90), 'end 90 of ConstantLR', 'end=30'),
        (dict(type='CosineAnnealingLR', T_max=30, end=90), None, None),
        (dict(type='ExponentialLR', gamma=0.9, end=90), None, None),
    ],
)
def test_each_kind_of_schedule_that_is_cut_off_is_reported(scheduler, late, remedy):
    cfg = Config(
        dict(train_cfg=dict(max_iters=30), param_scheduler=dict(scheduler, by_epoch=False))
    )
    found = list(cut_off_schedule(cfg))
    assert len(found) == bool(late)
    assert not late or (late in found[0].what and remedy in found[0].remedy)


@pytest.mark.parametrize(
    'paramwise, scheduler, erased',
    [
        (dict(decay_rate=0.7), dict(type='OneCycleLR', eta_max=0.01), True),
        (dict(bias_lr_mult=2.0), dict(type='mmengine.OneCycleLR', eta_max=0.01), True),
        (dict(custom_keys=dict(head=dict(lr_mult=3))), dict(type=OneCycleLR, eta_max=1), True),
        (dict(decay_rate=0.7), dict(type='OneCycleLR', eta_max=[0.01, 0.02]), False),
        (dict(decay_rate=0.7), dict(type='LayerDecayOneCycleLR', eta_max=0.01), False),
        (dict(decay_rate=0.7), dict(type='PolyLR'), False),
        (dict(norm_decay_mult=0.0), dict(type='OneCycleLR', eta_max=0.01), False),
        (None, dict(type='OneCycleLR', eta_max=0.01), False),
    ],
)
def test_one_rate_for_groups_that_should_differ_is_refused(paramwise, scheduler, erased):
    cfg = Config(dict(optim_wrapper=dict(paramwise_cfg=paramwise), param_scheduler=scheduler))
    found = list(erased_decay(cfg))
    assert len(found) == erased
    assert not erased or 'param_scheduler.type=convnext_mm.LayerDecayOneCycleLR' in found[0].remedy


def test_layer_decay_that_is_erased_stops_a_training_and_is_in_the_table(tmp_path):
    cfg = config(
        ADE,
        **{
            'param_scheduler': [dict(type='OneCycleLR', eta_max=1e-3, by_epoch=False)],
            'train_cfg.max_iters': 50,
        },
    )
    (warning,) = lr_table(cfg).warnings
    assert 'OneCycleLR gives eta_max=0.001 to all parameter groups' in warning
    with pytest.raises(UserError, match='gives eta_max=0'):
        train(cfg, work_dir=tmp_path)
    cfg.param_scheduler[0].type = 'convnext_mm.LayerDecayOneCycleLR'
    found = lr_table(cfg)
    assert not found.warnings
    for group in found.groups:
        assert group.rate.peak == pytest.approx(1e-3 * group.lr_scale)


@pytest.mark.parametrize(
    'settings, iterations, said',
    [
        (dict(type='PolyLR', end=90_000), 1000, 'end of PolyLR is iteration 90,000'),
        (dict(type='mmengine.OneCycleLR', total_steps=500), 1000, 'total_steps of OneCycleLR is'),
        (dict(type='PolyLR', end=90_000), 90_300, None),
        (dict(type='PolyLR'), 1000, None),  # MMEngine ends it with the training
        (dict(type='LinearLR', start_factor=0.1, end=500), 9000, None),  # a warm-up
        (dict(type='PolyLR', end=12, by_epoch=True), 1000, None),
    ],
)
def test_a_schedule_for_another_number_of_iterations_is_reported(settings, iterations, said):
    schedule = dict(dict(by_epoch=False), **settings)
    cfg = Config(dict(train_cfg=dict(max_epochs=12), param_scheduler=schedule))
    found = [finding.what for finding in schedule_of_another_run(cfg, iterations)]
    assert len(found) == bool(said) and (not said or said in found[0])
    cfg.train_cfg = dict(max_iters=iterations)  # cut_off_schedule() checks it
    assert not list(schedule_of_another_run(cfg, iterations))


def test_milestones_of_a_training_of_unknown_length_are_said_without_others():
    cfg = config(COCO, **{'train_cfg.max_epochs': 12})
    cfg.param_scheduler = ConfigDict(type='MultiStepLR', milestones=[8, 16])
    (finding,) = cut_off_schedule(cfg)
    assert finding.what.endswith('too early for milestone 16 of MultiStepLR')
    assert finding.remedy == 'choose lower ones'


def test_mmsegs_schedule_for_another_learning_rate_is_told_to_end_at_0(tmp_path):
    path = tmp_path / 'config.py'
    schedule = "_base_ = 'mmseg::_base_/schedules/schedule_160k.py'\n"
    path.write_text(schedule + f'model = {config(ADE).model.to_dict()!r}')
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(
        {
            'default_scope': 'mmseg',
            'optim_wrapper': {**config(ADE).optim_wrapper, '_delete_': True},
            'train_cfg.max_iters': 200,
            'param_scheduler.0.end': 200,
        }
    )
    (warning,) = lr_table(cfg).warnings
    assert 'the heads end at 100% of 0.0001, 10 groups higher, up to 209%' in warning
    assert warning.endswith('set param_scheduler.0.eta_min=0')
    cfg.merge_from_dict({'param_scheduler.0.eta_min': 0})
    assert lr_table(cfg).warnings == ()


def test_training_warns_before_it_starts(small_detector, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(small_detector)
    options = ('train_cfg.max_epochs=1', 'model.backbone.arch=none')  # stops once it is built
    done = run_tool('train.py', path, '--work-dir', tmp_path, '--cfg-options', *options)
    assert done.code == 2
    for line in (
        'the training ends after 1 epoch, too early for T_max 2 of CosineAnnealingLR\n',
        'rescale it: --cfg-options param_scheduler.1.end=1 param_scheduler.1.T_max=1\n',
    ):
        assert done.output.count(line) == 1


@pytest.mark.parametrize('kind', ['PolyLR', PolyLR, 'CosineAnnealingMomentum', None])
def test_an_eta_min_that_flattens_the_decay_is_said_before_training(kind, caplog):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [dict(params=[p], lr=lr) for p, lr in zip(parameters, (1e-4, 5e-5))]
    schedule = dict(type=kind, eta_min=1e-4, by_epoch=False) if kind else None
    runner = SimpleNamespace(
        cfg=Config(dict(param_scheduler=schedule)),
        optim_wrapper=OptimWrapper(torch.optim.AdamW(groups)),
        logger=logging.getLogger('runner'),
        max_iters=100,
    )
    ScheduleHook().before_train(runner)
    assert len(caplog.messages) == (kind in ('PolyLR', PolyLR))
    assert not caplog.messages or (
        'the heads end at 100% of 0.0001, 1 group higher, up to 200% of 5e-05' in caplog.messages[0]
        and caplog.messages[0].endswith('set param_scheduler.eta_min=0')
    )
