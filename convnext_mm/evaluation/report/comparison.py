"""Compare a result with the published one: the metrics, and the settings that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

import convnext_mm
from convnext_mm.config.batch_size import global_batch_size
from convnext_mm.config.reading import load_config
from convnext_mm.datasets.published import catalogue
from convnext_mm.evaluation.tta.config import augment_test, is_augmented
from convnext_mm.messages.findings import Finding, note

# For each key of `published` in a config: the name of the metric, its key in this report, and the
# data set it is published for with the class that knows the names of its classes.
_COCO = (catalogue.COCO, 'mmdet.CocoDataset')
_ADE20K = (catalogue.ADE20K, 'mmseg.ADE20KDataset')
_METRICS = {
    'box_AP': ('box AP', 'box', _COCO),
    'mask_AP': ('mask AP', 'mask', _COCO),
    'mIoU': ('mIoU', 'mIoU', _ADE20K),
    'mIoU_multi_scale': ('mIoU, multi-scale', 'mIoU with augmentation', _ADE20K),
}
# The recipes are beside the package in a clone; an installed package has none.
_CONFIGS = Path(convnext_mm.__file__).parents[1] / 'configs'
# Settings that a result depends on. Data sets are compared as part of the dataloaders.
_COMPARED = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr')
_LOADER = ('batch_size', 'sampler', 'batch_sampler', 'dataset')
# Paths and evaluation intervals do not change a result. These keys are skipped at any depth.
_NOT_COMPARED = ('data_root', 'backend_args', 'val_interval', 'val_begin', 'dynamic_intervals')
_ABSENT = object()
_MAX_LENGTH = 160  # characters of a value


@dataclass(frozen=True)
class Comparison:
    """Published metrics and the metrics of this run.

    Attributes:
        rows: Name, published value and value of this run, in percent.
        findings: Differences in how the two were measured.
        settings: Name, value in the recipe and value in this run of each setting that differs;
            None if the recipe is not found.
        source: Who published the metrics, if not the authors of the architecture.
    """

    rows: list[tuple[str, float, float]]
    findings: list[Finding]
    settings: list[tuple[str, str, str]] | None
    source: str | None


def compare_with_published(
    cfg: Config, metrics: Mapping[str, float], images: int, classes: Sequence[str], split: str
) -> Comparison | None:
    """Compare metrics with the ones that the config states as published.

    Args:
        cfg: The config. Its ``published`` may be inherited.
        metrics: In percent: ``box``, ``mask``, or ``mIoU``.
        images: Number of evaluated images.
        classes: Names of the classes.
        split: The evaluated split: ``test``, or ``val`` during a training.

    Returns:
        None if the config states no published metrics, or for other classes than the published.
    """
    metrics, augmented = dict(metrics), is_augmented(cfg)
    if augmented and 'mIoU' in metrics:
        metrics['mIoU with augmentation'] = metrics.pop('mIoU')
    published = dict(cfg.get('published') or {})
    known = {key: _METRICS[key] for key in _METRICS if key in published}
    rows = [
        (name, float(published[key]), metrics[ours])
        for key, (name, ours, _) in known.items()
        if ours in metrics
    ]
    if not rows:
        return None
    data, dataset_class = next(iter(known.values()))[2]
    if tuple(classes) != tuple(DATASETS.get(dataset_class).METAINFO['classes']):
        return None
    recipe = find_recipe(cfg)
    return Comparison(
        rows,
        list(_check_measurement(data, images, augmented)),
        None if recipe is None else settings_that_differ(recipe, cfg, split),
        published.get('source'),
    )


def _check_measurement(
    data: catalogue.Published, images: int, augmented: bool
) -> Iterator[Finding]:
    if augmented:
        yield note('test', 'This run used test-time augmentation (--tta).')
    count = next(split.count for split in data.splits if split.name == 'validation')
    if images != count:
        yield note(
            'test',
            f'The published values are for {count:,} images of {data.name} validation; this run '
            f'has {images:,}. The values cannot be compared.',
        )


def find_recipe(cfg: Config) -> Config | None:
    """Return the recipe with the published metrics that a config states or inherits.

    None if the recipes are not installed, or none of them states these metrics.
    """
    values = [str(value) for value in cfg.published.values()]
    for path in sorted(_CONFIGS.glob('*/*.py')):
        text = path.read_text()
        if 'published =' in text and all(value in text for value in values):
            recipe = load_config(path)
            if recipe.published == cfg.published:
                return recipe
    return None


def settings_that_differ(recipe: Config, cfg: Config, split: str) -> list[tuple[str, str, str]]:
    """Return dotted name, value in the recipe and value in the config of each such setting.

    Args:
        recipe: The result of :func:`find_recipe`. If `cfg` uses test-time augmentation, the recipe
            is changed in place to use it too.
        cfg: The config of the run.
        split: The evaluated split: ``test``, or ``val`` during a training. A training also knows
            the number of its processes.
    """
    if is_augmented(cfg):
        augment_test(recipe)
    both = (_compared(config, split) for config in (recipe, cfg))
    found = list(_differences(*both, ()))
    base = recipe.auto_scale_lr.base_batch_size
    if split == 'val' and global_batch_size(cfg) != base:
        found.append(('global batch size', str(base), str(global_batch_size(cfg))))
    return found


def _compared(cfg: Config, split: str) -> dict:
    compared = {key: cfg[key] for key in _COMPARED if key in cfg}
    for name, keys in (('train_dataloader', _LOADER), (f'{split}_dataloader', ('dataset',))):
        loader = cfg.get(name) or {}
        compared[name] = {key: loader[key] for key in keys if key in loader}
    return compared


def _differences(theirs: object, ours: object, path: tuple) -> Iterator[tuple[str, str, str]]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys(chain(theirs, ours)):
            if key not in _NOT_COMPARED:
                values = theirs.get(key, _ABSENT), ours.get(key, _ABSENT)
                yield from _differences(*values, (*path, key))
    elif _same_types(theirs, ours):
        for index, values in enumerate(zip(theirs, ours)):
            yield from _differences(*values, (*path, index))
    elif (text := _as_text(theirs)) != _as_text(ours):
        yield '.'.join(map(str, path)), _cut(text), _cut(_as_text(ours))


def _same_types(theirs: object, ours: object) -> bool:
    """Return whether two lists, such as pipelines, hold dicts of the same types in one order."""
    if not all(isinstance(node, (list, tuple)) for node in (theirs, ours)):
        return False
    types = [[_type(element) for element in node] for node in (theirs, ours)]
    return types[0] == types[1] and any(isinstance(e, (Mapping, list, tuple)) for e in theirs)


def _type(node: object) -> object:
    return node.get('type') if isinstance(node, Mapping) else type(node)


def _as_text(value: object) -> str:
    """Write a value for a reader; a list and a tuple look the same, as configs take either."""
    if value is _ABSENT:
        return '\N{EN DASH}'
    if isinstance(value, Mapping):
        inner = (f'{key}={_as_text(child)}' for key, child in value.items() if key != 'type')
        return f'{value.get("type", "")}({", ".join(inner)})'
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_as_text, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + '…'
