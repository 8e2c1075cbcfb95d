"""Check the folder of a run: can it be written, and do the checkpoints to come fit on its disk?"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import as_list, type_name
from convnext_mm.messages.findings import Finding, error, note, ok
from convnext_mm.messages.wording import counted

_GIB = 2**30
_FLOAT = 4  # bytes
_STATES = {'SGD': 1, 'Adam': 2, 'AdamW': 2}  # values that an optimizer keeps for a parameter
_MOST_STATES = 2


def check_folder(folder: str | Path) -> Iterator[Finding]:
    """Check that a folder can be written, or created; create nothing."""
    existing = _existing(folder)
    if not existing.is_dir():
        yield error(str(folder), f'this cannot be a folder: {existing} is a file')
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield error(str(folder), f'this cannot be written: no permission in {existing}')


def check_disk_space(cfg: Config, work_dir: str | Path) -> Iterator[Finding]:
    """Check that the checkpoints of a training fit on the disk of its work dir.

    Args:
        cfg: A config with a model, ``optim_wrapper`` and ``train_cfg``.
        work_dir: The folder of the checkpoints; it need not exist. Checkpoints in it are counted as
            part of those to come, because a resumed training has them already.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folder = Path(hook.get('out_dir') or work_dir)
    present = sum(path.stat().st_size for path in folder.glob('*.pth'))
    folder = _existing(folder)
    free = shutil.disk_usage(folder).free
    one = _checkpoint_size(cfg, hook)
    count = _number_kept(cfg, hook)
    needed = max(one, one * count - present)
    text = (
        f'{counted(count, "checkpoint")} of {_gib(one)} take {_gib(one * count)}, and '
        f'{_gib(free)} are free in {folder}'
    )
    if free < one:
        yield error('checkpoints', f'{text}: not enough for one')
    elif free < needed:
        yield note(
            'checkpoints',
            text,
            'free some space, or keep fewer: '
            '--cfg-options default_hooks.checkpoint.max_keep_ckpts=2',
        )
    else:
        yield ok('checkpoints', text)


def _existing(folder: str | Path) -> Path:
    """Return the folder, or the next one above it that exists."""
    path = Path(folder).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _checkpoint_size(cfg: Config, hook: Mapping) -> int:
    """Return the size of a checkpoint in bytes: parameters, optimizer and moving averages."""
    model = build_on_meta(cfg)
    values = sum(value.numel() for value in model.state_dict().values())
    copies = 1 + sum('EMA' in type_name(hook) for hook in as_list(cfg.get('custom_hooks')))
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    optimizer = cfg.optim_wrapper.get('optimizer') or {}
    states = _STATES.get(type_name(optimizer), _MOST_STATES)
    without_momentum = type_name(optimizer) == 'SGD' and not optimizer.get('momentum')
    if without_momentum or not hook.get('save_optimizer', True):
        states = 0
    return _FLOAT * (copies * values + states * trained)


def _number_kept(cfg: Config, hook: Mapping) -> int:
    """Return the largest number of checkpoints that are on the disk at one time."""
    by_epoch = hook.get('by_epoch', True)
    length = cfg.train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    interval = hook.get('interval', -1)
    regular = math.ceil(length / interval) if length and interval > 0 else 0
    kept = hook.get('max_keep_ckpts', -1)
    if kept > 0:
        regular = min(regular, kept + 1)  # An old one is removed when the new one is whole.
    best = hook.get('save_best') or ()
    return max(1, regular + (1 if isinstance(best, str) else len(best)))


def _gib(size: float) -> str:
    return f'{size / _GIB:.1f} GiB'
