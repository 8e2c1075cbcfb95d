"""Reading a config, and its model without the memory: what the tools share."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from convnext_mm.errors import UserError

# Of the libraries, on every config that inherits from `mmdet::` or builds a segmentor: nothing that
# a user of this package can do about.
for _message in (
    'pkg_resources is deprecated',
    '``build_loss`` would be deprecated soon',
    'Default ``avg_non_ignore`` is False',
    'To copy construct from a tensor',
):
    warnings.filterwarnings('ignore', message=_message)


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Read a config file and override settings of it.

    Args:
        path: The config file.
        options: New values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        UserError: There is no such file.
    """
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


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the config's detector or segmentor of tensors with shapes and no values.

    No weights are loaded, and the largest model takes a second and no memory. The config stays as
    it is.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = copy.deepcopy(cfg.model)  # building writes train_cfg and test_cfg into the heads'
    try:
        with torch.device('meta'):
            built = MODELS.build(model)
    except RuntimeError:
        # Some constructors (Swin's drop path) read values, which meta tensors do not have.
        built = MODELS.build(copy.deepcopy(cfg.model))
    # Some (SSD's) make parameters that no device context reaches.
    return built.to('meta')


def schedulers(cfg: Config) -> list[ConfigDict]:
    """The configs of the parameter schedulers; there may be one, several or none."""
    found = cfg.get('param_scheduler') or []
    return [found] if isinstance(found, dict) else list(found)


def scheduler_name(cfg: Config, index: int) -> str:
    """How ``--cfg-options`` calls a scheduler."""
    listed = isinstance(cfg.param_scheduler, (list, tuple))
    return f'param_scheduler.{index}' if listed else 'param_scheduler'


def dicts_below(node: object) -> Iterator[ConfigDict]:
    """Every dict below a node of a config, the node included."""
    if isinstance(node, dict):
        yield node
        node = node.values()
    elif not isinstance(node, (list, tuple)):
        return
    for child in node:
        yield from dicts_below(child)


def log_once(message: str, level: int = logging.INFO) -> None:
    """Log before there is a Runner, in the first of the processes that a launcher started."""
    ranks = (os.environ.get(name) for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))
    if next(filter(None, ranks), '0') == '0':
        print_log(message, logger='current', level=level)
