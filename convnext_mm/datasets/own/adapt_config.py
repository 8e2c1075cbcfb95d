"""A recipe's config for a user's own data: everything that names the data set or its classes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from convnext_mm.config.heads import resize_heads
from convnext_mm.config.nodes import dicts_below, leaf_datasets
from convnext_mm.config.schedule import rescale_schedule
from convnext_mm.datasets.own.recognise import below
from convnext_mm.datasets.published.catalogue import training_images
from convnext_mm.errors import UserError

# Settings of a data set that are not about which one it is.
_KEPT = ('pipeline', 'filter_cfg', 'test_mode', 'backend_args', 'indices', 'serialize_data')

# What the tools and MMEngine read of a config; anything else at its top level is a helper of the
# recipe's file, whose value has long been copied to where it is used.
_READ = {*inspect.signature(Runner.__init__).parameters} | {
    *('auto_scale_lr', 'tta_model', 'tta_pipeline', 'find_unused_parameters', 'custom_imports'),
    *('work_dir', 'default_scope', 'log_level'),
}


@dataclass(frozen=True)
class Split:
    """What a loader reads.

    Attributes:
        images: Folder.
        annotations: COCO JSON, or folder of label maps.
        count: Images.
        used: Those of them with objects.
        listed: For label maps, a file with the images' stems, if not all in the folder are meant.
    """

    images: Path
    annotations: Path
    count: int
    used: int
    listed: Path | None = None


@dataclass(frozen=True)
class OwnData:
    """A user's data set, checked, as configs need to know it.

    Attributes:
        kind: ``coco`` or ``maps``.
        root: The user's folder.
        classes: Their names.
        palette: A colour (R, G, B) for each.
        splits: ``train``, ``val`` and ``test``.
        masks: Whether the objects have masks, or boxes only.
        image_suffix, map_suffix, reduce_zero_label: As MMSegmentation's data sets have them.
    """

    kind: str
    root: Path
    classes: tuple[str, ...]
    palette: list[list[int]]
    splits: dict[str, Split]
    masks: bool = True
    image_suffix: str = '.jpg'
    map_suffix: str = '.png'
    reduce_zero_label: bool = False


def fit(cfg: Config, own: OwnData, given: Collection[str] = ()) -> list[str]:
    """Change a config, in place, so that it trains and tests on a user's data.

    Args:
        cfg: A detection config for COCO-format data, a segmentation config for label maps.
        own: The data.
        given: Dotted names of settings that the user chose, which stay.

    Returns:
        A line for each change.

    Raises:
        UserError: The config is for the other kind of data, or learns masks where there are none.
    """
    _check_kind(cfg, own)
    for key in [key for key in cfg if key not in _READ]:
        cfg.pop(key)
    for split in ('train', 'val', 'test'):
        for key in (f'{split}_dataloader', f'{split}_evaluator'):
            if key in cfg:  # in most configs that of the test is that of the validation
                cfg[key] = copy.deepcopy(cfg[key])
    before = training_images(cfg)
    names = ', '.join(own.classes[:8]) + (', ...' if len(own.classes) > 8 else '')
    changes = [f'classes: {len(own.classes)}, {names}']
    changes += resize_heads(cfg.model, len(own.classes))
    if own.kind == 'coco' and not own.masks:
        changes += _without_masks(cfg)
    for split in ('train', 'val', 'test'):
        changes += _fit_loader(cfg, split, own)
    for split in ('val', 'test'):
        changes += _fit_evaluator(cfg, split, own)
    for transform in _transforms(cfg):
        # The data sets say it; said again it is deprecated, and different it is an error.
        transform.pop('reduce_zero_label', None)
    train = own.splits['train']
    filters = [d.get('filter_cfg') or {} for d in leaf_datasets(cfg.train_dataloader)]
    skips_empty = any(filter_cfg.get('filter_empty_gt') for filter_cfg in filters)
    images = train.used if skips_empty else train.count
    changes += rescale_schedule(cfg, images, before, given)
    return changes


def _check_kind(cfg: Config, own: OwnData) -> None:
    segments = cfg.get('default_scope') == 'mmseg'
    if segments != (own.kind == 'maps'):
        names = {'coco': 'objects in COCO format', 'maps': 'label maps'}
        other = 'a detection' if segments else 'a segmentation'
        config = 'a segmentation' if segments else 'a detection'
        raise UserError(
            f'{own.root} holds {names[own.kind]} and the config is {config} config: '
            f'choose {other} config'
        )


def _fit_loader(cfg: Config, split: str, own: OwnData) -> Iterator[str]:
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        return
    leaf = _fitted(next(leaf_datasets(loader)), own.splits[split], own)
    _replace_leaf(loader, 'dataset', leaf)
    paths = own.splits[split].annotations, own.splits[split].listed
    yield (
        f'{split}_dataloader: {own.splits[split].count:,} images of {own.splits[split].images}, '
        f'annotations {paths[0]}' + (f', those in {paths[1]}' if paths[1] else '')
    )


def _fitted(dataset: ConfigDict, split: Split, own: OwnData) -> ConfigDict:
    """A data set of the user's, read and augmented as the recipe's."""
    metainfo = dict(classes=own.classes, palette=[tuple(colour) for colour in own.palette])
    kept = {key: dataset[key] for key in _KEPT if key in dataset}
    common = dict(data_root=f'{own.root}/', metainfo=metainfo, **kept)
    images, annotations = below(split.images, own.root), below(split.annotations, own.root)
    if own.kind == 'coco':
        return ConfigDict(
            type='CocoDataset', ann_file=annotations, data_prefix=dict(img=images), **common
        )
    listed = dict(ann_file=below(split.listed, own.root)) if split.listed else {}
    return ConfigDict(
        type='BaseSegDataset',
        **listed,
        data_prefix=dict(img_path=images, seg_map_path=annotations),
        img_suffix=own.image_suffix,
        seg_map_suffix=own.map_suffix,
        reduce_zero_label=own.reduce_zero_label,
        **common,
    )


def _replace_leaf(node: ConfigDict, key: str, leaf: ConfigDict) -> None:
    """Put a data set into its loader's wrappers; of several that are joined, one remains."""
    inner = node[key]
    if 'datasets' in inner:
        # The user's data once, with the wrappers that the first of them has.
        node[key] = inner = inner['datasets'][0]
    if 'dataset' in inner:
        _replace_leaf(inner, 'dataset', leaf)
    else:
        node[key] = leaf


def _fit_evaluator(cfg: Config, split: str, own: OwnData) -> Iterator[str]:
    key = f'{split}_evaluator'
    if not cfg.get(key):
        return
    evaluators = cfg[key] if isinstance(cfg[key], (list, tuple)) else [cfg[key]]
    if own.kind == 'maps':
        kept = [e for e in evaluators if e['type'].endswith('IoUMetric')]
        cfg[key] = kept or dict(type='IoUMetric', iou_metrics=['mIoU'])
    else:
        path = str(own.splits[split].annotations)
        kept = [dict(e, ann_file=path) for e in evaluators if 'CocoMetric' in e['type']]
        metric = ['bbox', 'segm'] if _learns_masks(cfg) else ['bbox']
        cfg[key] = kept or dict(type='CocoMetric', metric=metric, ann_file=path)
        yield f'{key}.ann_file = {path}'
    if len(cfg[key]) == 1 and isinstance(cfg[key], list):
        cfg[key] = cfg[key][0]
    if not kept:
        yield f'{key}.type = {cfg[key].type}, for the recipe has one for its own data set'


def _without_masks(cfg: Config) -> Iterator[str]:
    """Leave the masks out of a two-stage detector, which then learns boxes."""
    if not _learns_masks(cfg):
        return
    roi_head = cfg.model.get('roi_head') or {}
    if 'mask_head' not in roi_head:
        raise UserError(
            'the objects have boxes and no masks, which this config learns: choose a config of a '
            'two-stage detector, whose mask head can be left out, or of one for boxes'
        )
    for key in ('mask_head', 'mask_roi_extractor'):
        roi_head.pop(key, None)
    for transform in _transforms(cfg):
        if transform.get('with_mask'):
            transform.with_mask = False
    for key in ('val_evaluator', 'test_evaluator'):
        for evaluator in cfg[key] if isinstance(cfg[key], list) else [cfg[key]]:
            if 'metric' in evaluator:
                evaluator.metric = 'bbox'
    yield 'no masks: the objects have boxes only, so the mask head is left out'


def _learns_masks(cfg: Config) -> bool:
    return any(transform.get('with_mask') for transform in _transforms(cfg))


def _transforms(cfg: Config) -> Iterator[ConfigDict]:
    """The LoadAnnotations of all pipelines, those for test-time augmentation included."""
    keys = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'tta_pipeline')
    yield from (
        node
        for key in keys
        for node in dicts_below(cfg.get(key))
        if str(node.get('type', '')).endswith('LoadAnnotations')
    )
