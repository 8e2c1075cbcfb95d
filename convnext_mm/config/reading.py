"""Read a config, and find the folder of its runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from convnext_mm.compat import apply_workarounds
from convnext_mm.config.nodes import with_type_names
from convnext_mm.errors import UserError


def load_config(config: str | Path | Config, options: Mapping[str, object] | None = None) -> Config:
    """Read a config and override settings of it.

    Args:
        config: A file, or a config, which is copied.
        options: New values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        UserError: The file does not exist.
    """
    apply_workarounds()
    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
    elif Path(config).is_file():
        cfg = Config.fromfile(config)
    else:
        raise UserError(f'{config}: no such file')
    cfg = with_type_names(cfg)
    if options:
        cfg.merge_from_dict(dict(options))
    return cfg


def find_work_dir(cfg: Config, given: str | Path | None = None) -> Path:
    """Return the folder of the runs of a config.

    It is `given`, or else the ``work_dir`` of the config, or else ``work_dirs/<config name>``. A
    config that lies in the folder of a run belongs to that run.

    Raises:
        UserError: Nothing names the folder: the config was not read from a file.
    """
    if given or cfg.get('work_dir'):
        return Path(given or cfg.work_dir)
    if not cfg.filename:
        raise UserError('the config comes from no file and has no work_dir: give a work_dir')
    folder = Path(cfg.filename).parent
    if (folder / 'last_checkpoint').is_file() or next(folder.glob('*/vis_data'), None):
        return folder
    return Path('work_dirs', Path(cfg.filename).stem)
