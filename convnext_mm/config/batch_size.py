"""Keep the batch size of a recipe on fewer GPUs, or scale its learning rate."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator

from mmengine.config import Config

from convnext_mm.config.schedule import multiply_iterations, schedulers_in, unknown_counts
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding, note, ok
from convnext_mm.messages.log import log_once
from convnext_mm.messages.wording import counted

# The variables in which launchers pass the number of processes.
_WORLD_SIZE = {
    'pytorch': 'WORLD_SIZE',
    'slurm': 'SLURM_NTASKS',
    'mpi': 'OMPI_COMM_WORLD_SIZE',
}


def accumulate(cfg: Config) -> Config:
    """Return a config that keeps the batch size of the recipe by accumulating gradients.

    Everything that the config counts in iterations becomes longer by the number of batches in a
    step, so the number of optimizer steps stays: see :func:`multiply_iterations`. Batch norm still
    sees one batch at a time.

    Raises:
        UserError: The config does not state the batch size that its learning rate is for, or that
            batch size is no multiple of the number of images that the processes load at once.
    """
    base, loaded = _base_batch_size(cfg, '--accumulate'), images_per_iteration(cfg)
    if loaded is None:
        raise UserError('--accumulate: train_dataloader has no batch_size')
    if base % loaded:
        raise UserError(
            f'--accumulate: the batch size of the recipe, {base}, is no multiple of '
            f'{_in_words(cfg)}; choose another train_dataloader.batch_size'
        )
    if _accumulated(cfg) != 1:
        raise UserError(
            '--accumulate: the config sets optim_wrapper.accumulative_counts already, to '
            f'{_accumulated(cfg)}'
        )
    cfg = copy.deepcopy(cfg)
    batches = base // loaded
    cfg.optim_wrapper.accumulative_counts = batches
    cfg.auto_scale_lr.enable = False
    multiply_iterations(cfg, batches)
    for line in unknown_counts(schedulers_in(cfg, by_epoch=False)) if batches > 1 else ():
        log_once(line, logging.WARNING)
    log_once(
        f'batch size {base} as in the recipe: {_in_words(cfg)}'
        + (f'; settings in iterations are {batches} times as large' if batches > 1 else '')
    )
    return cfg


def scale_lr(cfg: Config) -> Config:
    """Return a config whose learning rate MMEngine scales in proportion to the batch size.

    Raises:
        UserError: The config does not state the batch size that its learning rate is for.
    """
    # MMEngine does not count accumulated batches.
    base = _base_batch_size(cfg, '--auto-scale-lr') / _accumulated(cfg)
    cfg = copy.deepcopy(cfg)
    cfg.auto_scale_lr.update(enable=True, base_batch_size=base)
    return cfg


def global_batch_size(cfg: Config, processes: int | None = None) -> int | None:
    """Return the number of images in an optimizer step; None if a batch sampler decides that."""
    loaded = images_per_iteration(cfg, processes)
    return loaded and loaded * _accumulated(cfg)


def auto_scale_lr_factor(cfg: Config) -> float:
    """Return the factor that auto_scale_lr applies to the learning rate; 1 if it is off."""
    auto, loaded = cfg.get('auto_scale_lr', {}), images_per_iteration(cfg)
    return loaded / auto.base_batch_size if auto.get('enable') and loaded else 1.0


def check_batch_size(cfg: Config, processes: int | None = None) -> Iterator[Finding]:
    """Check that the learning rate is meant for the batch size of a run.

    Args:
        cfg: A config with a train_dataloader and an optim_wrapper.
        processes: The number of processes; by default as many as the launcher started.
    """
    auto = cfg.get('auto_scale_lr', {})
    base, batch = auto.get('base_batch_size'), global_batch_size(cfg, processes)
    if batch is None or auto.get('enable'):
        return
    made_of = _in_words(cfg, processes)
    if base is None:
        yield note(
            'batch size',
            f'{batch} ({made_of}); the config does not state the batch size that its '
            'learning rate is for',
            'set auto_scale_lr=dict(base_batch_size=...)',
        )
    elif base == batch:
        yield ok('batch size', f'{batch} ({made_of}), as the learning rate is for')
    else:
        yield note(
            'batch size',
            f'the learning rate is for a batch of {base}, and this run has {batch} ({made_of})',
            f'--accumulate keeps the batch of {base}, --auto-scale-lr scales the learning rate',
        )


def _base_batch_size(cfg: Config, option: str) -> int:
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            f'{option}: the config has no auto_scale_lr.base_batch_size, the batch size that its '
            'learning rate is for'
        )
    return cfg.auto_scale_lr.base_batch_size


def _processes(cfg: Config) -> int:
    return int(os.environ.get(_WORLD_SIZE.get(cfg.get('launcher'), ''), 1))


def images_per_iteration(cfg: Config, processes: int | None = None) -> int | None:
    """Return the number of images that all processes load at once, if batches have one size."""
    size = cfg.train_dataloader.get('batch_size')
    return size and (processes or _processes(cfg)) * size


def _accumulated(cfg: Config) -> int:
    return cfg.optim_wrapper.get('accumulative_counts', 1)


def _in_words(cfg: Config, processes: int | None = None) -> str:
    images = counted(cfg.train_dataloader.batch_size, 'image')
    accumulated = _accumulated(cfg)
    more = f' x {counted(accumulated, "batch")}' if accumulated > 1 else ''
    return f'{counted(processes or _processes(cfg), "process")} x {images}{more}'
