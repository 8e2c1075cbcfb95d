"""Schedulers of every kind of MMEngine, rescaled to another length."""

import inspect

import mmengine.optim.scheduler as mmengine_classes
import mmengine.optim.scheduler.param_scheduler as mmengine_schedulers
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from convnext_mm.config import schedule
from convnext_mm.config.schedule import (
    changed_settings,
    multiply_iterations,
    rescale_schedule,
    rescaled_schedulers,
)

# Arguments of MMEngine's schedulers that are numbers and count no steps.
NO_COUNTS = {
    *('factor', 'start_factor', 'end_factor', 'power', 'eta_min', 'eta_min_ratio', 'eta_max'),
    *('last_step', 'pct_start', 'div_factor', 'final_div_factor', 'restart_weights', 'gamma'),
    # ReduceOnPlateau counts evaluations.
    *('patience', 'cooldown', 'threshold', 'min_value', 'eps'),
}


def config(*schedulers, **length):
    return Config(dict(param_scheduler=[dict(s) for s in schedulers], train_cfg=length))


def test_all_arguments_of_mmengine_that_count_steps_are_known():
    arguments = {
        name
        for cls in vars(mmengine_schedulers).values()
        if inspect.isclass(cls) and cls.__module__ == mmengine_schedulers.__name__
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if 'int' in str(parameter.annotation)
    }
    assert arguments - NO_COUNTS <= set(schedule._COUNTS)
    assert {'begin', 'end', 'T_max', 'total_steps', 'step_size', 'milestones', 'periods'} <= (
        arguments
    )


@pytest.mark.parametrize(
    'scheduler, expected',
    [
        (dict(type='StepLR', step_size=200), dict(step_size=50)),
        (dict(type='MultiStepLR', milestones=[600, 900]), dict(milestones=[150, 225])),
        (dict(type='CosineAnnealingLR', T_max=1000), dict(T_max=250)),
        (dict(type='OneCycleLR', total_steps=1000), dict(total_steps=250)),
        (dict(type='CosineRestartLR', periods=[200, 800]), dict(periods=[50, 200])),
        (dict(type='mmengine.ExponentialLR', gamma=0.9), dict(gamma=0.9**4.0)),
        (dict(type='PolyLR', begin=0, end=1000), dict(begin=0, end=250)),
    ],
)
def test_a_schedule_of_each_kind_is_rescaled_to_a_quarter(scheduler, expected):
    cfg = config(dict(scheduler, by_epoch=False), max_iters=250)
    (after,) = rescaled_schedulers(cfg, recipe=1000, length=250)
    assert {key: after[key] for key in expected} == expected
    assert set(after) == {*scheduler, 'by_epoch'}
    ((_, changed),) = changed_settings(cfg.param_scheduler, [after])
    assert set(changed) == {key for key in expected if key != 'begin'}


def test_milestones_count_from_the_begin_of_their_scheduler():
    """As MMEngine counts them: a warm-up keeps its length, the rest moves."""
    warm_up = dict(type='LinearLR', by_epoch=False, begin=0, end=100)
    steps = dict(type='MultiStepLR', by_epoch=False, begin=100, milestones=[500, 900])
    _, after = rescaled_schedulers(config(warm_up, steps, max_iters=2100), 1100, 2100)
    assert (after.begin, after.milestones) == (100, [1000, 1800])


def test_schedules_in_epochs_stay_when_iterations_are_multiplied():
    scheduler = dict(type='MultiStepLR', milestones=[8, 11])
    cfg = config(scheduler, max_epochs=12)
    multiply_iterations(cfg, 4)
    assert cfg.param_scheduler == [scheduler] and cfg.train_cfg == dict(max_epochs=12)


def test_a_single_scheduler_stays_a_single_one():
    cfg = Config(dict(param_scheduler=dict(type='PolyLR', by_epoch=False, end=10), train_cfg={}))
    multiply_iterations(cfg, 3)
    assert cfg.param_scheduler == dict(type='PolyLR', by_epoch=False, end=30)


RECIPE = 1000  # steps
WARM_UP = dict(type='LinearLR', start_factor=0.01, end=100)
# One or more of each kind of MMEngine, over the whole of a recipe.
WHOLE = {
    'constant': [dict(type='ConstantLR', factor=0.1, end=100), dict(type='PolyLR', begin=100)],
    'linear': [dict(type='LinearLR', start_factor=1.0, end_factor=0.1, end=RECIPE)],
    'cosine': [WARM_UP, dict(type='CosineAnnealingLR', begin=100, T_max=900, eta_min=0.1)],
    'cosine without T_max': [dict(type='CosineAnnealingLR', eta_min_ratio=0.05, end=RECIPE)],
    'restarts': [
        dict(
            type='CosineRestartLR',
            periods=[200, 300, 500],
            restart_weights=[1, 0.6, 0.3],
            eta_min=0,
        )
    ],
    'exponential': [dict(type='mmengine.ExponentialLR', gamma=0.995)],
    'milestones': [WARM_UP, dict(type='MultiStepLR', milestones=[600, 900])],
    'milestones from a begin on': [dict(type='MultiStepLR', milestones=[550, 850], begin=50)],
    'steps': [dict(type='StepLR', step_size=300, gamma=0.5)],
    'one cycle': [dict(type='OneCycleLR', eta_max=2.0, total_steps=RECIPE)],
    'one cycle in three phases': [dict(type='OneCycleLR', eta_max=2.0, three_phase=True)],
    'one cycle for each group': [
        dict(type='convnext_mm.LayerDecayOneCycleLR', eta_max=2.0, total_steps=RECIPE)
    ],
    'poly': [WARM_UP, dict(type='PolyLR', power=0.9, eta_min=0.01, begin=100)],
    'poly that ends before the run': [dict(type='mmengine.PolyLR', power=0.9, end=900)],
}
MOMENTUM = {
    name: [
        {**s, 'type': s['type'].removeprefix('mmengine.').replace('LR', 'Momentum')} for s in found
    ]
    for name, found in WHOLE.items()
    if not name.startswith('one cycle')
}


def values(schedulers, length, key):
    """Return the learning rate, or the momentum, of each step of MMEngine's own schedulers."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0, momentum=1.0))
    built = [
        PARAM_SCHEDULERS.build({'end': length, **s}, default_args=dict(optimizer=wrapper))
        for s in schedulers
    ]
    wrapper.step()
    found = []
    for _ in range(length):
        found.append(wrapper.optimizer.param_groups[0][key])
        for scheduler in built:
            scheduler.step()
    return found


@pytest.mark.parametrize('by_epoch', [False, True], ids=['iterations', 'epochs'])
@pytest.mark.parametrize('length', [400, 4000])
@pytest.mark.parametrize(
    'schedule, key',
    [(s, 'lr') for s in WHOLE.values()] + [(s, 'momentum') for s in MOMENTUM.values()],
    ids=[*WHOLE, *(f'momentum: {name}' for name in MOMENTUM)],
)
def test_a_schedule_of_each_kind_has_the_same_start_peak_and_end(schedule, key, length, by_epoch):
    recipe = [dict(s, by_epoch=by_epoch) for s in schedule]
    unit = 'max_epochs' if by_epoch else 'max_iters'
    after = rescaled_schedulers(config(*recipe, **{unit: length}), RECIPE, length, by_epoch)
    theirs, ours = values(recipe, RECIPE, key), values(after, length, key)
    assert ours[0] == pytest.approx(theirs[0]) and max(ours) == pytest.approx(max(theirs))
    assert ours[-1] == pytest.approx(theirs[-1], rel=0.02, abs=1e-4)
    # After the warm-up, which keeps its length, the rates of a quarter and a half are the same too.
    warm = 100 if any(s.get('end') == 100 for s in schedule) else 0
    ours_warm = min(warm, length // 10)
    for part in (0.27, 0.5, 0.77):
        step = theirs[warm + int(part * (RECIPE - warm))]
        assert ours[ours_warm + int(part * (length - ours_warm))] == pytest.approx(
            step, abs=0.015 * max(theirs)
        )


def adapted(recipe_images=None, given=(), images=320, batch=None, *, times=1, **settings):
    leaf = dict(type='RepeatDataset', times=times, dataset=dict(type='CocoDataset'))
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=2, dataset=leaf),
            auto_scale_lr=dict(base_batch_size=16),
            **settings,
        )
    )
    return cfg, list(rescale_schedule(cfg, images, recipe_images, given, batch))


def test_a_schedule_whose_end_is_not_called_end_follows_a_length_that_was_given():
    """OneCycleLR kept its 160,000 steps, and ended a run of 1,000 at 4% of the rate."""
    for scheduler, expected in (
        (dict(type='OneCycleLR', total_steps=160_000), dict(total_steps=1000)),
        (dict(type='CosineRestartLR', periods=[40_000, 120_000]), dict(periods=[250, 750])),
        (dict(type='CosineAnnealingLR', T_max=160_000), dict(T_max=1000)),
    ):
        cfg, changes = adapted(
            None,
            ('train_cfg.max_iters',),
            train_cfg=dict(max_iters=1000),
            param_scheduler=dict(scheduler, by_epoch=False),
        )
        assert {key: cfg.param_scheduler[key] for key in expected} == expected
        assert any(scheduler['type'] in line for line in changes)


def test_steps_without_an_end_are_rescaled_from_the_length_in_the_file(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "train_dataloader = dict(batch_size=2, dataset=dict(type='CocoDataset'))\n"
        'train_cfg = dict(max_iters=90_000)\n'
        "param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[60_000, 80_000])\n"
    )
    cfg = Config.fromfile(path)
    cfg.train_cfg.max_iters = 900
    list(rescale_schedule(cfg, 100, None, ('train_cfg.max_iters',)))
    assert cfg.param_scheduler.milestones == [600, 800]


@pytest.mark.parametrize('images, batch, steps', [(320, 16, 1000), (3200, 16, 10_000)])
def test_a_recipe_in_epochs_stretches_a_schedule_in_iterations_over_the_run(images, batch, steps):
    schedule = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=500),
        dict(type='PolyLR', by_epoch=False, begin=500, end=90_000),
    ]
    cfg, _ = adapted(
        118_287,
        images=images,
        batch=batch,
        train_cfg=dict(max_epochs=50),
        param_scheduler=[dict(s) for s in schedule],
    )
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.end, decay.begin, decay.end) == (min(500, steps // 10),) * 2 + (steps,)


def test_iterations_of_a_smaller_batch_are_counted_as_they_are():
    """Without --accumulate, an iteration loads fewer images than in the recipe."""
    for batch, end in ((None, 1000), (16, 1000), (2, 8000)):
        cfg, _ = adapted(
            images=320,
            batch=batch,
            train_cfg=dict(max_epochs=50),
            param_scheduler=dict(type='PolyLR', by_epoch=False, end=90_000),
        )
        assert cfg.param_scheduler.end == end


def test_a_schedule_in_iterations_of_unknown_length_is_reported():
    schedule = dict(type='MultiStepLR', by_epoch=False, milestones=[6000, 8000])
    length = dict(train_cfg=dict(max_epochs=12), param_scheduler=schedule)
    cfg, changes = adapted(images=16_000, **length)
    assert cfg.param_scheduler == schedule
    assert any('MultiStepLR, in iterations, stays as it is: the length' in c for c in changes)
    cfg, changes = adapted(16_000, images=8000, **length)
    assert cfg.param_scheduler.milestones == [3000, 4000]


def test_a_schedule_that_cannot_be_rescaled_is_reported():
    _, changes = adapted(
        118_287,
        train_cfg=dict(max_epochs=12),
        param_scheduler=[
            dict(type='ReduceOnPlateauLR', patience=2),
            dict(type='TwistLR', twists=3),
        ],
    )
    assert 'ReduceOnPlateauLR counts evaluations and stays as it is' in changes
    assert any(line.startswith('TwistLR is no scheduler of MMEngine') for line in changes)


def test_every_scheduler_of_mmengine_is_known():
    names = {name for name in mmengine_classes.__all__ if name.endswith(('LR', 'Momentum'))}
    names |= {'LayerDecayOneCycleLR', 'QuadraticWarmupLR', 'QuadraticWarmupMomentum'}
    cfg = Config(dict(param_scheduler=[dict(type=name) for name in sorted(names)]))
    said = list(schedule.unknown_counts(cfg.param_scheduler))
    assert len(names) > 18 and {line.split()[0] for line in said} == {
        'ReduceOnPlateauLR',
        'ReduceOnPlateauMomentum',
    }


def test_the_momentum_of_a_moving_average_that_counts_iterations_is_rescaled():
    hooks = [
        dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002),
        dict(type='mmengine.EMAHook', ema_type='mmengine.MomentumAnnealingEMA', gamma=50),
        dict(type='EMAHook', begin_iter=10),
    ]
    cfg = Config(dict(train_cfg=dict(max_epochs=3), custom_hooks=hooks))
    multiply_iterations(cfg, 4)
    first, second, third = cfg.custom_hooks
    assert (first.gamma, first.interval) == (8000, 4)
    assert (second.gamma, second.interval) == (200, 4)
    assert 'gamma' not in third and third.begin_iter == 40
