"""A recipe's batch size on fewer GPUs: what accumulating gradients changes in a config."""

import pytest
from mmengine.config import Config

from convnext_mm.batch_size import accumulate, scale_lr
from convnext_mm.errors import UserError
from tests.conftest import ROOT


def config(name, **options):
    cfg = Config.fromfile(ROOT / 'configs' / name)
    cfg.merge_from_dict({'launcher': 'none', **options})
    return cfg


def test_a_run_by_iterations_becomes_eight_times_as_long_on_one_gpu():
    cfg = config('upernet/convnext_t_ade20k.py')
    accumulate(cfg)
    assert cfg.optim_wrapper.accumulative_counts == 8
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (1_280_000, 128_000)
    warmup, poly = cfg.param_scheduler
    assert (warmup.begin, warmup.end, poly.begin, poly.end) == (0, 12_000, 12_000, 1_280_000)
    assert cfg.default_hooks.checkpoint.interval == 128_000


def test_in_a_run_by_epochs_only_the_warm_up_becomes_longer():
    cfg = config('cascade/convnext_t_coco.py')
    accumulate(cfg)
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, steps.milestones, steps.end) == (4000, [27, 33], 36)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (36, 1)
    assert cfg.default_hooks.checkpoint.interval == 1


@pytest.mark.parametrize(
    'launcher, variable', [('pytorch', 'WORLD_SIZE'), ('slurm', 'SLURM_NTASKS')]
)
def test_processes_count(monkeypatch, launcher, variable):
    monkeypatch.setenv(variable, '4')
    cfg = config('cascade/convnext_t_coco.py', launcher=launcher)
    accumulate(cfg)
    assert cfg.optim_wrapper.accumulative_counts == 2


def test_accumulated_batches_count_when_the_rate_is_scaled():
    cfg = config('cascade/convnext_t_coco.py', **{'optim_wrapper.accumulative_counts': 4})
    scale_lr(cfg)
    # MMEngine takes the rate times 2 / 4: eight images a step for the recipe's sixteen.
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=4)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'train_dataloader.batch_size': 3}, 'batch of 16 is no multiple of 1 process x 3 images'),
        ({'train_dataloader.batch_size': 32}, 'batch of 16 is no multiple of 1 process x 32'),
        ({'optim_wrapper.accumulative_counts': 4}, 'sets .*accumulative_counts itself, to 4'),
        ({'auto_scale_lr': dict(_delete_=True)}, 'no auto_scale_lr.base_batch_size'),
    ],
)
def test_what_cannot_be_accumulated_is_an_error_and_leaves_the_config_as_it_was(options, message):
    cfg = config('cascade/convnext_t_coco.py', **options)
    before = cfg.pretty_text
    with pytest.raises(UserError, match=message):
        accumulate(cfg)
    assert cfg.pretty_text == before
