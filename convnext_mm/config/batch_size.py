"""A recipe on other hardware than the authors': its batch size, or its learning rate scaled."""

from __future__ import annotations

import logging
import os

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import schedulers
from convnext_mm.errors import UserError
from convnext_mm.messages.log import log_once

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

    What the config counts in iterations becomes that many times as long, so that the steps stay the
    same: schedules, the length of the training, the intervals of evaluation, checkpoints and EMA.
    Hooks of others are left as they are. Batch norm still sees one batch at a time.

    Raises:
        UserError: The config does not say what batch its learning rate is for, or that is no
            multiple of what the processes load at once.
    """
    base, loaded = _base_batch_size(cfg, '--accumulate'), _loaded(cfg)
    if loaded is None:
        raise UserError('--accumulate: train_dataloader has no batch_size')
    if base % loaded:
        raise UserError(
            f"--accumulate: the recipe's batch of {base} is no multiple of {_in_words(cfg)}; "
            'choose another train_dataloader.batch_size'
        )
    if _accumulated(cfg) != 1:
        raise UserError(
            '--accumulate: the config sets optim_wrapper.accumulative_counts itself, to '
            f'{_accumulated(cfg)}'
        )
    counts = base // loaded
    cfg.optim_wrapper.accumulative_counts = counts
    cfg.auto_scale_lr.enable = False
    _lengthen(cfg, counts)
    log_once(
        f"batch of {base} as the recipe's: {_in_words(cfg)}, gradients of {counts} batches a step; "
        f'what is counted in iterations is {counts} times as long'
    )


def scale_lr(cfg: Config) -> None:
    """Have MMEngine scale the learning rate in proportion to the batch size.

    Raises:
        UserError: The config does not say what batch its learning rate is for.
    """
    # MMEngine does not count accumulated batches.
    base = _base_batch_size(cfg, '--auto-scale-lr') / _accumulated(cfg)
    cfg.auto_scale_lr.update(enable=True, base_batch_size=base)


def images_a_step(cfg: Config) -> int | None:
    """The batch size of a run with this config; None if its loader's batches are made otherwise."""
    loaded = _loaded(cfg)
    return loaded and loaded * _accumulated(cfg)


def lr_factor(cfg: Config) -> float:
    """By what MMEngine multiplies the learning rates before a training: 1 unless told to."""
    auto, loaded = cfg.get('auto_scale_lr', {}), _loaded(cfg)
    return loaded / auto.base_batch_size if auto.get('enable') and loaded else 1.0


def warn_of_other_batch_size(cfg: Config) -> None:
    """Say so if the learning rate is for another batch size than this run has."""
    auto = cfg.get('auto_scale_lr', {})
    base, batch = auto.get('base_batch_size'), images_a_step(cfg)
    if base is None or batch is None or auto.get('enable'):
        return
    if base != batch:
        log_once(
            f'the learning rate is for a batch of {base}, and this run has {batch} '
            f'({_in_words(cfg)}): --accumulate keeps the batch of {base}, --auto-scale-lr scales '
            'the learning rate',
            logging.WARNING,
        )


def _base_batch_size(cfg: Config, option: str) -> int:
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            f'{option}: the config has no auto_scale_lr.base_batch_size, the batch size its '
            'learning rate is meant for'
        )
    return cfg.auto_scale_lr.base_batch_size


def _processes(cfg: Config) -> int:
    return int(os.environ.get(_WORLD_SIZE.get(cfg.get('launcher'), ''), 1))


def _loaded(cfg: Config) -> int | None:
    """Images that all processes load at once; None if the loader's batches are made otherwise."""
    batch_size = cfg.train_dataloader.get('batch_size')
    return batch_size and _processes(cfg) * batch_size


def _accumulated(cfg: Config) -> int:
    return cfg.optim_wrapper.get('accumulative_counts', 1)


def _in_words(cfg: Config) -> str:
    processes = _processes(cfg)
    return (
        f'{processes} process{"es" if processes > 1 else ""} x '
        f'{cfg.train_dataloader.batch_size} images'
    )


def _lengthen(cfg: Config, factor: int) -> None:
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.setdefault('val_interval', 1000)  # IterBasedTrainLoop's
        _multiply(cfg.train_cfg, ('max_iters', 'val_interval', 'val_begin'), factor)
        if cfg.train_cfg.get('dynamic_intervals'):
            cfg.train_cfg.dynamic_intervals = [
                (begin * factor, interval * factor)
                for begin, interval in cfg.train_cfg.dynamic_intervals
            ]
    for scheduler in schedulers(cfg):
        if not scheduler.get('by_epoch', True):
            _multiply(scheduler, _COUNTS, factor)
            if 'gamma' in scheduler and scheduler.type.startswith('Exponential'):
                scheduler.gamma **= 1 / factor  # it is per iteration
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True):
        _multiply(checkpoint, ('interval', 'save_begin'), factor)
    for hook in cfg.get('custom_hooks') or []:
        if hook.get('type') == 'EMAHook':
            hook.setdefault('interval', 1)
            _multiply(hook, ('interval', 'begin_iter'), factor)


def _multiply(cfg: ConfigDict, keys: tuple[str, ...], factor: int) -> None:
    for key in keys:
        if isinstance(cfg.get(key), (list, tuple)):
            cfg[key] = [count * factor for count in cfg[key]]
        elif cfg.get(key):
            cfg[key] *= factor
