"""Reading a config, and its model without the memory, for the tools that only look at it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from convnext_mm.errors import UserError

# Of the libraries, on every config that inherits from `mmdet::` or builds a segmentor: nothing that
# a user of this package can do about.
for _message in (
    'pkg_resources is deprecated',
    '``build_loss`` would be deprecated soon',
    'Default ``avg_non_ignore`` is False',
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


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the config's detector or segmentor of tensors with shapes and no values.

    No weights are loaded, and the largest model takes a second and no memory.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with torch.device('meta'):
        return MODELS.build(cfg.model)
