"""Check batch size, data-loader workers and disk space of a training on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from mmengine.config import Config

from convnext_mm.config import batch_size, disk
from convnext_mm.config.reading import find_work_dir
from convnext_mm.messages.findings import Finding, note, ok
from convnext_mm.messages.wording import counted


def check_batch_size(cfg: Config) -> Iterator[Finding]:
    """Check the batch size of a training on all GPUs of this machine."""
    yield from batch_size.check_batch_size(cfg, processes=max(1, torch.cuda.device_count()))


def check_disk(cfg: Config) -> Iterator[Finding]:
    """Check that the checkpoints of a training fit on the disk of its work dir."""
    yield from disk.check_disk_space(cfg, find_work_dir(cfg))


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
