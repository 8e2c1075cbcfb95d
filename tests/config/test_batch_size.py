"""A recipe's batch size on fewer GPUs: what accumulating gradients changes in a config."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from convnext_mm.config import batch_size
from convnext_mm.config.batch_size import accumulate, check_batch_size, scale_lr
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level
from tests.conftest import ROOT


def config(name, **options):
    cfg = Config.fromfile(ROOT / 'configs' / name)
    cfg.merge_from_dict({'launcher': 'none', **options})
    return cfg


def test_a_run_by_iterations_becomes_eight_times_as_long_on_one_gpu():
    cfg = accumulate(config('upernet/convnext_t_ade20k.py'))
    assert cfg.optim_wrapper.accumulative_counts == 8
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (1_280_000, 128_000)
    warmup, poly = cfg.param_scheduler
    assert (warmup.begin, warmup.end, poly.begin, poly.end) == (0, 12_000, 12_000, 1_280_000)
    assert cfg.default_hooks.checkpoint.interval == 128_000


def test_in_a_run_by_epochs_only_the_warm_up_becomes_longer():
    cfg = accumulate(config('cascade/convnext_t_coco.py'))
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, steps.milestones, steps.end) == (4000, [27, 33], 36)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (36, 1)
    assert cfg.default_hooks.checkpoint.interval == 1


@pytest.mark.parametrize(
    'schedule', ['poly', 'exponential', 'milestones', 'steps', 'restarts', 'one_cycle']
)
def test_the_rates_of_the_steps_are_those_of_the_recipe(schedule):
    """The rate at optimizer step k, read off MMEngine's own schedulers."""
    schedulers = dict(
        poly=dict(type='PolyLR', power=1.0, by_epoch=False, begin=20, end=200),
        exponential=dict(type='ExponentialLR', gamma=0.9, by_epoch=False, begin=20, end=200),
        milestones=dict(type='MultiStepLR', milestones=[60, 120], gamma=0.1, by_epoch=False),
        steps=dict(type='StepLR', step_size=40, gamma=0.5, by_epoch=False, begin=20),
        restarts=dict(
            type='CosineRestartLR',
            periods=[60, 120],
            restart_weights=[1.0, 0.5],
            eta_min=0.0,
            by_epoch=False,
            begin=20,
        ),
        one_cycle=dict(type='OneCycleLR', eta_max=1.0, total_steps=200, by_epoch=False),
    )
    warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20)
    found = []
    for accumulated in (False, True):
        cfg = config('upernet/convnext_t_ade20k.py', **{'train_cfg.max_iters': 200})
        cfg.param_scheduler = [ConfigDict(schedulers[schedule])]
        if schedule != 'one_cycle':  # it has a warm-up of its own
            cfg.param_scheduler.insert(0, ConfigDict(warm_up))
        if accumulated:
            cfg = accumulate(cfg)
        counts = cfg.optim_wrapper.get('accumulative_counts', 1)
        parameter = torch.nn.Parameter(torch.zeros(1))
        wrapper = OptimWrapper(torch.optim.AdamW([parameter], lr=1.0))
        built = [
            PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=wrapper))
            for s in cfg.param_scheduler
        ]
        wrapper.step()
        rates = []
        for iteration in range(cfg.train_cfg.max_iters):
            if (iteration + 1) % counts == 0:  # the step is taken at the end of them
                rates.append(wrapper.optimizer.param_groups[0]['lr'])
            for scheduler in built:
                scheduler.step()
        found.append(torch.tensor(rates))
    assert len(found[0]) == len(found[1]) == 200
    # The rate moves on within a step's iterations: up to one step of the schedule ahead.
    recipe, accumulated = found
    low = torch.minimum(recipe[:-1], recipe[1:]) - 0.002
    high = torch.maximum(recipe[:-1], recipe[1:]) + 0.002
    assert ((accumulated[:-1] >= low) & (accumulated[:-1] <= high)).all()


def test_hooks_and_intervals_that_count_iterations_are_lengthened_too():
    cfg = config('upernet/convnext_t_ade20k.py')
    cfg.custom_hooks = [ConfigDict(type='EMAHook', begin_iter=10)]
    cfg.train_cfg = ConfigDict(
        type='IterBasedTrainLoop', max_iters=100, dynamic_intervals=[(90, 5)]
    )
    cfg = accumulate(cfg)
    assert cfg.custom_hooks == [dict(type='EMAHook', begin_iter=80, interval=8)]
    assert (cfg.train_cfg.val_interval, cfg.train_cfg.dynamic_intervals) == (8000, [(720, 40)])


def test_a_schedule_in_iterations_that_cannot_be_lengthened_is_reported(monkeypatch):
    said = []
    monkeypatch.setattr(batch_size, 'log_once', lambda line, level=None: said.append(line))
    cfg = config('upernet/convnext_t_ade20k.py')
    cfg.param_scheduler = [ConfigDict(type='TwistLR', twists=9, by_epoch=False)]
    accumulate(cfg)
    assert said[0].startswith('TwistLR is no scheduler of MMEngine: of its settings, only begin')


def test_a_rate_that_is_kept_is_not_scaled_as_well():
    cfg = config('cascade/convnext_t_coco.py', **{'auto_scale_lr.enable': True})
    assert not accumulate(cfg).auto_scale_lr.enable


def test_a_loader_without_a_batch_size_cannot_be_accumulated_and_is_not_checked():
    cfg = config('cascade/convnext_t_coco.py')
    del cfg.train_dataloader['batch_size']
    assert not list(check_batch_size(cfg))
    with pytest.raises(UserError, match='train_dataloader has no batch_size'):
        accumulate(cfg)


@pytest.mark.parametrize(
    'launcher, variable', [('pytorch', 'WORLD_SIZE'), ('slurm', 'SLURM_NTASKS')]
)
def test_processes_count(monkeypatch, launcher, variable):
    monkeypatch.setenv(variable, '4')
    cfg = config('cascade/convnext_t_coco.py', launcher=launcher)
    cfg = accumulate(cfg)
    assert cfg.optim_wrapper.accumulative_counts == 2


def test_accumulated_batches_count_when_the_rate_is_scaled():
    cfg = config('cascade/convnext_t_coco.py', **{'optim_wrapper.accumulative_counts': 4})
    cfg = scale_lr(cfg)
    # MMEngine takes the rate times 2 / 4: eight images a step for the recipe's sixteen.
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=4)


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'train_dataloader.batch_size': 3},
            'the recipe, 16, is no multiple of .* x 3 images',
        ),
        ({'train_dataloader.batch_size': 32}, 'the recipe, 16, is no multiple of 1 process x 32'),
        ({'optim_wrapper.accumulative_counts': 4}, 'sets .*accumulative_counts already, to 4'),
        ({'auto_scale_lr': dict(_delete_=True)}, 'no auto_scale_lr.base_batch_size'),
    ],
)
def test_what_cannot_be_accumulated_is_an_error_and_leaves_the_config_as_it_was(options, message):
    cfg = config('cascade/convnext_t_coco.py', **options)
    before = cfg.pretty_text
    with pytest.raises(UserError, match=message):
        accumulate(cfg)
    assert cfg.pretty_text == before


def test_the_check_tells_the_batch_of_the_recipe_from_that_of_the_run():
    def check(**options):
        (finding,) = check_batch_size(config('cascade/convnext_t_coco.py', **options))
        return finding

    other = check()
    assert other.level is Level.NOTE
    assert other.what == 'the learning rate is for a batch of 16, and this run has 2 ' + (
        '(1 process x 2 images)'
    )
    assert '--accumulate keeps the batch of 16' in other.remedy
    same = check(**{'optim_wrapper.accumulative_counts': 8})
    assert same.level is Level.OK and '1 process x 2 images x 8 batches' in same.what
    unknown = check(**{'auto_scale_lr': dict(_delete_=True)})
    assert unknown.level is Level.NOTE and 'does not state the batch size' in unknown.what
