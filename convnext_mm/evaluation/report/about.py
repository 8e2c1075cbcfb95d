"""Where a result comes from: the recipe, the machine, and the figures published for the recipe."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config, ConfigDict
from mmseg.datasets import ADE20KDataset

from convnext_mm.config.batch_size import auto_scale_lr_factor, global_batch_size
from convnext_mm.config.nodes import dicts_below, leaf_datasets
from convnext_mm.datasets.published import catalogue as published
from convnext_mm.evaluation.report.differences import differences, stated_by
from convnext_mm.evaluation.tta.config import is_augmented

_PACKAGES = ('convnext_mm', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'torch', 'numpy', 'hotcoco')
# Figures of a config's `published`: what they are called, the metric here, and what they are of.
_COCO = (published.COCO, CocoDataset.METAINFO['classes'])
_ADE = (published.ADE20K, ADE20KDataset.METAINFO['classes'])
_FIGURES = {
    'box_AP': ('box AP', 'box', _COCO),
    'mask_AP': ('mask AP', 'mask', _COCO),
    'mIoU': ('mIoU', 'mIoU', _ADE),
    'mIoU_multi_scale': ('mIoU, multi-scale', 'mIoU with augmentation', _ADE),
}


@dataclass(frozen=True)
class Comparison:
    """Published figures beside the ones of this run.

    Attributes:
        rows: Name, published, here; in percent.
        remarks: Where the two were not measured alike, as sentences.
        settings: Name, the recipe's value and the one here of each that differs; None where the
            recipe is not at hand.
        source: Who published them, if not the authors of the architecture.
    """

    rows: list[tuple[str, float, float]]
    remarks: list[str]
    settings: list[tuple[str, str, str]] | None
    source: str | None


def comparison(
    cfg: Config, figures: Mapping[str, float], images: int, classes: Sequence[str], split: str
) -> Comparison | None:
    """Set this run's figures beside those that the config states as published.

    Args:
        cfg: The config; without ``published``, its own or inherited, there is nothing to compare.
        figures: In percent: ``box``, ``mask``, or ``mIoU``.
        images: Number of images evaluated.
        classes: Names of the classes; of others than were published nothing is compared either.
        split: What was evaluated, ``test`` or, in training, ``val``.
    """
    figures, remarks = dict(figures), []
    if is_augmented(cfg):
        remarks.append('Here the test-time augmentation of --tta was on.')
        figures = {
            f'{name} with augmentation' if name == 'mIoU' else name: value
            for name, value in figures.items()
        }
    stated = dict(cfg.get('published') or {})
    known = {key: _FIGURES[key] for key in _FIGURES if key in stated}
    rows = [
        (name, float(stated[key]), figures[here])
        for key, (name, here, _) in known.items()
        if here in figures
    ]
    if not rows:
        return None
    data, expected = next(iter(known.values()))[2]
    if tuple(classes) != tuple(expected):
        return None
    count = next(split.count for split in data.splits if split.name == 'validation')
    if images != count:
        remarks.append(
            f'Published on {data.name} validation, {count:,} images; here {images:,}. The figures '
            'do not compare.'
        )
    recipe = stated_by(cfg)
    settings = None if recipe is None else differences(recipe, cfg, split)
    return Comparison(rows, remarks, settings, stated.get('source'))


def recipe(cfg: Config, name: str, checkpoint: str | None, split: str) -> list[tuple[str, str]]:
    """What was trained and tested, and how, as names and values.

    Args:
        cfg: The config; in a training the Runner's, which has what the command line changed.
        name: Its file name.
        checkpoint: The weights that were tested.
        split: What was evaluated, ``test`` or, in training, ``val``.
    """
    rows = _recipe(cfg, checkpoint, split)
    return [('config', name), *((key, value) for key, value in rows if value)]


def _recipe(cfg: Config, checkpoint: str | None, split: str) -> Iterator[tuple[str, str]]:
    model = cfg.model.module if is_augmented(cfg) else cfg.model
    backbone = model.get('backbone', {})
    yield 'weights tested', checkpoint or ''
    yield 'tested on', _images(next(leaf_datasets(cfg[f'{split}_dataloader'])))
    yield 'model', model.get('type', '')
    arch = backbone.get('arch', '')
    if isinstance(arch, dict):
        arch = f'depths {tuple(arch.depths)}, channels {tuple(arch.channels)}'
    yield 'backbone', f'{backbone.get("type", "").split(".")[-1]} {arch}'.strip()
    training = split == 'val'
    yield 'trained from', _start(cfg, model) or ('scratch' if training else '')
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
    # After a training only the recipe's is known.
    recipes = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    batch = global_batch_size(cfg) if training else recipes
    yield 'schedule', length + (f', batch of {batch}' if length and batch else '')
    yield 'precision in training', 'mixed' if wrapper.get('type') == 'AmpOptimWrapper' else 'fp32'
    yield 'test-time augmentation', 'yes' if is_augmented(cfg) else 'no'


def _start(cfg: Config, model: Mapping) -> str:
    """The weights that a training began with, as far as the config says."""
    if cfg.get('resume'):
        return 'an earlier training, resumed'
    if cfg.get('load_from'):
        return cfg.load_from
    stated = model.get('init_cfg'), model.get('backbone', {}).get('init_cfg')
    found = [node.get('checkpoint') for init in stated for node in dicts_below(init)]
    return ', '.join(filter(None, found)) or model.get('pretrained') or ''


def _images(dataset: ConfigDict) -> str:
    """Where a data set's images are."""
    prefix = dataset.get('data_prefix') or {}
    folder = prefix.get('img') or prefix.get('img_path') or ''
    return str(Path(dataset.get('data_root') or '', folder))


def environment() -> list[tuple[str, str]]:
    """The machine and the versions this page was written with."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = [
        ('device', ', '.join(devices) or f'CPU, {os.cpu_count()} cores'),
        ('system', f'{platform.system()} {platform.machine()}, Python {platform.python_version()}'),
    ]
    versions = ((name, importlib.import_module(name).__version__) for name in _PACKAGES)
    return [*rows, *versions]
