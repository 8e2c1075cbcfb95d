"""Where a result comes from: the recipe, the machine and the software versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict

from convnext_mm.config.batch_size import auto_scale_lr_factor, global_batch_size
from convnext_mm.config.nodes import dicts_below, leaf_datasets, type_name
from convnext_mm.evaluation.tta.config import is_augmented

_PACKAGES = ('convnext_mm', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'torch', 'numpy', 'hotcoco')


def recipe(cfg: Config, name: str, weights: str | None, split: str) -> list[tuple[str, str]]:
    """Describe the training and the test as names and values.

    Args:
        cfg: The config. In a training it is the Runner's config, with all command-line options.
        name: File name of the config.
        weights: The weights that were tested.
        split: The evaluated split: ``test``, or ``val`` during a training.
    """
    rows = _recipe(cfg, weights, split)
    return [('config', name), *((key, value) for key, value in rows if value)]


def _recipe(cfg: Config, weights: str | None, split: str) -> Iterator[tuple[str, str]]:
    model = cfg.model.module if is_augmented(cfg) else cfg.model
    backbone = model.get('backbone', {})
    yield 'tested weights', weights or ''
    yield 'tested images', _image_folder(next(leaf_datasets(cfg[f'{split}_dataloader'])))
    yield 'model', model.get('type', '')
    arch = backbone.get('arch', '')
    if isinstance(arch, dict):
        arch = f'depths {tuple(arch.depths)}, channels {tuple(arch.channels)}'
    yield 'backbone', f'{backbone.get("type", "").split(".")[-1]} {arch}'.strip()
    training = split == 'val'
    yield 'initial weights', _initial_weights(cfg, model) or ('random' if training else '')
    wrapper = cfg.get('optim_wrapper', {})
    optimizer = wrapper.get('optimizer', {})
    factors = dict(lr=auto_scale_lr_factor(cfg) if training else 1, weight_decay=1)
    settings = [f'{k} {optimizer[k] * f:g}' for k, f in factors.items() if k in optimizer]
    decay = wrapper.get('paramwise_cfg', {})
    if decay.get('decay_rate', 1.0) != 1.0:
        settings.append(f'{decay.get("decay_type", "")} decay {decay.decay_rate:g}')
    yield 'optimizer', ', '.join([optimizer.get('type', ''), *settings]).strip(', ')
    loop = cfg.get('train_cfg') or {}
    length = f'{loop["max_epochs"]} epochs' if 'max_epochs' in loop else ''
    if 'max_iters' in loop:
        counts = wrapper.get('accumulative_counts', 1)
        length = f'{loop["max_iters"] // counts:,} {"steps" if counts > 1 else "iterations"}'
    # A test knows the batch size that the recipe intends, not the one of the training.
    recommended = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    batch = global_batch_size(cfg) if training else recommended
    yield 'schedule', length + (f', global batch size {batch}' if length and batch else '')
    yield 'training precision', 'mixed' if type_name(wrapper) == 'AmpOptimWrapper' else 'fp32'
    yield 'test-time augmentation', 'yes' if is_augmented(cfg) else 'no'


def _initial_weights(cfg: Config, model: Mapping) -> str:
    """Return the weights that a training starts with, as far as the config names them."""
    if cfg.get('resume'):
        return 'resumed from an earlier training'
    if cfg.get('load_from'):
        return cfg.load_from
    init_cfgs = model.get('init_cfg'), model.get('backbone', {}).get('init_cfg')
    found = [node.get('checkpoint') for init in init_cfgs for node in dicts_below(init)]
    return ', '.join(filter(None, found)) or model.get('pretrained') or ''


def dataset_name(cfg: Config, split: str) -> str:
    """Return the names of the folders of the tested data sets."""
    names = []
    for dataset in leaf_datasets(cfg[f'{split}_dataloader']):
        root = dataset.get('data_root') or _image_folder(dataset)
        names.append(Path(root).resolve().name or root)
    return ' and '.join(dict.fromkeys(names))


def _image_folder(dataset: ConfigDict) -> str:
    prefix = dataset.get('data_prefix') or {}
    folder = prefix.get('img') or prefix.get('img_path') or ''
    return str(Path(dataset.get('data_root') or '', folder))


def environment() -> list[tuple[str, str]]:
    """Return the machine and the versions of the packages that this process has loaded."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = [
        ('device', ', '.join(devices) or f'CPU, {os.cpu_count()} cores'),
        ('system', f'{platform.system()} {platform.machine()}, Python {platform.python_version()}'),
    ]
    loaded = {name: sys.modules[name] for name in _PACKAGES if sys.modules.get(name)}
    return [*rows, *((name, module.__version__) for name, module in loaded.items())]
