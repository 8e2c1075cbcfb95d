"""Schedulers of every kind of MMEngine, rescaled to another length."""

import inspect

import mmengine.optim.scheduler.param_scheduler as mmengine_schedulers
import pytest
from mmengine.config import Config

from convnext_mm.config import schedule
from convnext_mm.config.schedule import changed_settings, multiply_iterations, rescaled_schedulers

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
