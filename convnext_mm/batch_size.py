"""A recipe on other hardware than the authors': its batch size, or its learning rate scaled."""

from __future__ import annotations

import logging
import os

from mmengine.config import Config
from mmengine.logging import print_log

from convnext_mm.errors import UserError

# Where a launcher says how many processes it started.
_WORLD_SIZE = {
    'pytorch': 'WORLD_SIZE',
    'slurm': 'SLURM_NTASKS',
    'mpi': 'OMPI_COMM_WORLD_SIZE',
}
# Arguments of MMEngine's schedulers that count iterations where `by_epoch` is False.
_COUNTS = (
    'begin',
    'end',
    'T_max',
    'total_iters',
    'total_steps',
    'step_size',
    'milestones',
    'periods',
)


def accumulate(cfg: Config) -> None:
    """Keep the batch size that the learning rate is for: sum several batches' gradients for a step.

    What the config counts in iterations (schedules, length of training, intervals of evaluation and
    checkpoints) becomes that many times as long, so that the steps stay the same. Batch norm still
    sees one batch at a time.

    Raises:
        UserError: The config does not say what batch its learning rate is for, or that is no
            multiple of what the processes load at once.
    """
    base, loaded = _base_batch_size(cfg, '--accumulate'), _loaded(cfg)
    if base % loaded:
        raise UserError(
            f"--accumulate: the recipe's batch of {base} is no multiple of {_in_words(cfg)}; "
            'choose another train_dataloader.batch_size'
        )
    if cfg.optim_wrapper.get('accumulative_counts', 1) != 1:
        raise UserError(
            '--accumulate: the config sets optim_wrapper.accumulative_counts itself, to '
            f'{cfg.optim_wrapper.accumulative_counts}'
        )
    counts = base // loaded
    cfg.optim_wrapper.accumulative_counts = counts
    _lengthen(cfg, counts)
    print_log(
        f"batch of {base} as the recipe's: {_in_words(cfg)}, gradients of {counts} batches a step; "
        f'what is counted in iterations is {counts} times as long',
        logger='current',
    )


def scale_lr(cfg: Config) -> None:
    """Have MMEngine scale the learning rate in proportion to the batch size.

    Raises:
        UserError: The config does not say what batch its learning rate is for.
    """
    # MMEngine does not count accumulated batches.
    base = _base_batch_size(cfg, '--auto-scale-lr') / _accumulated(cfg)
    cfg.auto_scale_lr.update(enable=True, base_batch_size=base)


def warn_of_other_batch_size(cfg: Config) -> None:
    """Say so if the learning rate is for another batch size than this run has."""
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    batch = _loaded(cfg) * _accumulated(cfg)
    if base and base != batch:
        print_log(
            f'the learning rate is for a batch of {base}, and this run has {batch} '
            f'({_in_words(cfg)}): --accumulate keeps the batch of {base}, --auto-scale-lr scales '
            'the learning rate',
            logger='current',
            level=logging.WARNING,
        )


def _base_batch_size(cfg: Config, option: str) -> int:
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            f'{option}: the config has no auto_scale_lr.base_batch_size, the batch size its '
            'learning rate is meant for'
        )
    return cfg.auto_scale_lr.base_batch_size


def _processes(cfg: Config) -> int:
    return int(os.environ.get(_WORLD_SIZE.get(cfg.launcher, ''), 1))


def _loaded(cfg: Config) -> int:
    return _processes(cfg) * cfg.train_dataloader.batch_size


def _accumulated(cfg: Config) -> int:
    return cfg.optim_wrapper.get('accumulative_counts', 1)


def _in_words(cfg: Config) -> str:
    processes = _processes(cfg)
    return (
        f'{processes} process{"es" if processes > 1 else ""} x '
        f'{cfg.train_dataloader.batch_size} images'
    )


def _lengthen(cfg: Config, factor: int) -> None:
    for key in ('max_iters', 'val_interval', 'val_begin'):
        if 'max_iters' in cfg.train_cfg and key in cfg.train_cfg:
            cfg.train_cfg[key] *= factor
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        if scheduler.get('by_epoch', True):
            continue
        for key in _COUNTS:
            if isinstance(scheduler.get(key), (list, tuple)):
                scheduler[key] = [count * factor for count in scheduler[key]]
            elif scheduler.get(key):
                scheduler[key] *= factor
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True):
        checkpoint.interval = checkpoint.get('interval', -1) * factor
