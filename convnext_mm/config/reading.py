"""Reading a config, and its model without the memory: what the tools share."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from convnext_mm.compat import apply_workarounds
from convnext_mm.errors import UserError


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Read a config file and override settings of it.

    Args:
        path: The config file.
        options: New values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        UserError: There is no such file.
    """
    apply_workarounds()
    if not Path(path).is_file():
        raise UserError(f'{path}: no such file')
    cfg = Config.fromfile(path)
    if options:
        cfg.merge_from_dict(options)
    return cfg


def work_dir_of(cfg: Config, config: str | Path, given: str | Path | None = None) -> Path:
    """Where a run of a config keeps its files: as told, as the config says, else by its name.

    A config without a ``work_dir`` that lies in a run's folder belongs to that run.

    Args:
        cfg: As read.
        config: Its file.
        given: What the command line says.
    """
    if given or cfg.get('work_dir'):
        return Path(given or cfg.work_dir)
    beside = Path(config).parent
    if (beside / 'last_checkpoint').is_file() or next(beside.glob('*/vis_data'), None):
        return beside
    return Path('work_dirs', Path(config).stem)
