"""Check the batch size on this machine against the learning rate."""

from __future__ import annotations

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
