"""The configs and checkpoints that trainings leave in a work dir."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from convnext_mm.config.reading import load_config
from convnext_mm.errors import UserError

# The config that a training on own data writes.
OWN_DATA_CONFIG = 'own_data.py'


def newest_checkpoints(work_dir: Path) -> list[Path]:
    """Return the regular checkpoints of a training, newest first."""
    return _newest_first([*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')])


def best_checkpoint(work_dir: Path) -> Path:
    """Return the checkpoint with the best metric, if the config saves one, else the newest one.

    Raises:
        UserError: There is none.
    """
    found = [*_newest_first(work_dir.glob('best_*.pth')), *newest_checkpoints(work_dir)]
    if not found:
        reason = 'holds no checkpoint (best_*.pth, epoch_*.pth, iter_*.pth)'
        raise UserError(f'{work_dir} {reason if work_dir.is_dir() else "is no folder"}')
    return found[0]


def find_config(work_dir: Path) -> Path:
    """Return the config of the last training in a work dir.

    Raises:
        UserError: There is none.
    """
    written = work_dir / OWN_DATA_CONFIG
    if written.is_file():
        return written
    # A test may have replaced the copy of the training. MMEngine keeps one more for each run.
    copies = [*_newest_first(work_dir.glob('*.py')), *work_dir.glob('*/vis_data/config.py')]
    for path in copies:
        if not _is_for_tta(load_config(path)):
            return path
    raise UserError(f'{work_dir} holds no config: give a config and a checkpoint')


def _is_for_tta(cfg: Config) -> bool:
    return 'module' in (cfg.get('model') or {})


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)
