"""Check the batch size and the data-loader workers of a training on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from mmengine.config import Config

from convnext_mm.messages.findings import Finding, note, ok
from convnext_mm.messages.wording import counted


def check_batch_size(cfg: Config) -> Iterator[Finding]:
    """Compare the global batch size on all GPUs of this machine with `base_batch_size`."""
    loaded = cfg.train_dataloader.get('batch_size')
    if not loaded:
        yield note('batch size', 'not checked: train_dataloader has no batch_size')
        return
    gpus = torch.cuda.device_count()
    batches = cfg.optim_wrapper.get('accumulative_counts', 1)
    batch = loaded * max(1, gpus) * batches
    here = f'{counted(batch, "image")} per step here ('
    here += f'{counted(gpus, "GPU")} x {loaded}' if gpus else f'{loaded} on the CPU'
    here += f', gradients of {batches} batches)' if batches > 1 else ')'
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    if not base:
        yield note(
            'batch size',
            f'{here}; the config does not say for which batch size its learning rate is',
            'set auto_scale_lr=dict(base_batch_size=...)',
        )
    elif base == batch:
        yield ok('batch size', f'{here}; the learning rate is for {base}')
    else:
        yield note(
            'batch size',
            f'{here}, but the learning rate is for {base}',
            f'train with --accumulate or --auto-scale-lr, or on {max(1, base // loaded)} GPUs',
        )


def check_workers(cfg: Config) -> Iterator[Finding]:
    """Compare the workers of all training processes with the cores of this machine."""
    loaders = (cfg.get(key) or {} for key in ('train_dataloader', 'val_dataloader'))
    workers = max(loader.get('num_workers', 0) for loader in loaders)
    processes = max(1, torch.cuda.device_count())
    cores = available_cores()
    text = (
        f'{counted(workers, "data-loader worker")} per process, {counted(processes, "process")}, '
        f'{counted(cores, "core")}'
    )
    if workers * processes > cores:
        fitting = max(1, cores // processes - 1)
        yield note(
            'workers',
            f'{text}: the workers wait for each other',
            f'--cfg-options train_dataloader.num_workers={fitting}',
        )
    elif not workers and torch.cuda.is_available() and cores > 1:
        yield note(
            'workers', f'{text}: the GPU waits for images', 'set train_dataloader.num_workers'
        )
    else:
        yield ok('workers', text)


def available_cores() -> int:
    """Return the CPU cores that this process may use; a container may have fewer than its host."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
