"""Adapt a config to a data set: change every setting that names the data or its classes."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator

from mmengine.config import Config, ConfigDict

from convnext_mm.config.batch_size import images_per_iteration
from convnext_mm.config.heads import resize_heads
from convnext_mm.config.key_checks import known_settings
from convnext_mm.config.nodes import as_list, dicts_below, is_segmentation, leaf_datasets, type_name
from convnext_mm.config.schedule import rescale_schedule
from convnext_mm.datasets.own.check import KINDS, LISTED_CLASSES
from convnext_mm.datasets.own.files import relative
from convnext_mm.datasets.own.write import PreparedData, PreparedSplit
from convnext_mm.datasets.published.catalogue import training_images
from convnext_mm.errors import UserError
from convnext_mm.messages.wording import counted, listed

_SPLITS = ('train', 'val', 'test')
# Settings of a data set that say how it is read, and not which data set it is.
_KEPT = ('pipeline', 'filter_cfg', 'test_mode', 'backend_args', 'indices', 'serialize_data')
# Top-level settings that describe the data set of a recipe, or results on it.
_OF_RECIPE_DATA = ('data_root', 'dataset_type', 'classes', 'palette', 'metainfo', 'published')


def adapt_config(
    cfg: Config, data: PreparedData, given: Collection[str] = (), *, accumulate: bool = False
) -> list[str]:
    """Change a config, in place, so that it trains and tests on the data of the user.

    Args:
        cfg: A detection config for COCO annotations, a segmentation config for label maps.
        data: The data set.
        given: Dotted names of settings that the user chose, which stay.
        accumulate: Whether the run accumulates batches up to the batch size of the recipe.

    Returns:
        One line for each change.

    Raises:
        UserError: The config is for the other kind of data, or it learns masks, the objects have
            none, and the masks cannot be left out.
    """
    _check_kind(cfg, data)
    drop_recipe_data(cfg)
    recipe_images = training_images(cfg)
    count = len(data.classes)
    changes = [f'{counted(count, "class")}: {listed(data.classes, LISTED_CLASSES)}']
    changes += resize_heads(cfg.model, count)
    if data.kind == 'coco':
        changes += _leave_stuff_out(cfg)
        if not data.with_masks:
            changes += _leave_masks_out(cfg)
    if data.with_small_images:
        changes += _let_anchors_cross_borders(cfg)
    for split in _SPLITS:
        changes += _adapt_loader(cfg, split, data)
    for split in ('val', 'test'):
        changes += _adapt_evaluator(cfg, split, data)
    for transform in _annotation_transforms(cfg):
        # The data set has this setting. MMSegmentation deprecates it in the transform, and raises
        # an error if the two differ.
        transform.pop('reduce_zero_label', None)
    if is_segmentation(cfg) and cfg.get('test_dataloader'):
        # `inference_model` of MMSegmentation reads the pipeline under this name.
        cfg.test_pipeline = copy.deepcopy(next(leaf_datasets(cfg.test_dataloader)).pipeline)
    batch = None if accumulate else images_per_iteration(cfg)
    changes += rescale_schedule(cfg, _images_per_epoch(cfg, data), recipe_images, given, batch)
    return changes


def drop_recipe_data(cfg: Config) -> None:
    """Remove the variables of a recipe, and separate the settings for val and test, in place."""
    for key in _variables(cfg):
        cfg.pop(key)
    for key in [f'{split}_{part}' for split in _SPLITS for part in ('dataloader', 'evaluator')]:
        if key in cfg:  # In most configs the settings for val and test are one object.
            cfg[key] = copy.deepcopy(cfg[key])


def _variables(cfg: Config) -> list[str]:
    """Return the variables in the files of the recipe: parts of other settings, and its data.

    Every other setting stays: a hook of the user may read it.
    """
    text = re.sub('#.*', '', cfg.text or '')
    return [
        key
        for key in cfg
        if key in _OF_RECIPE_DATA or (key not in known_settings() and _is_used(key, text))
    ]


def _is_used(name: str, text: str) -> bool:
    """Return whether the text of a config uses a variable, as in ``dict(pipeline=name)``."""
    return bool(re.search(rf'(_base_\.|[-=([{{,:+*/%]\s*){name}\b(?!\s*=[^=])', text))


def _check_kind(cfg: Config, data: PreparedData) -> None:
    segments = is_segmentation(cfg)
    if segments != (data.kind == 'maps'):
        names = ('a detection', 'a segmentation')
        raise UserError(
            f'{data.root} holds {KINDS[data.kind]} and the config is {names[segments]} config: '
            f'choose {names[not segments]} config'
        )


def _images_per_epoch(cfg: Config, data: PreparedData) -> int:
    filters = [d.get('filter_cfg') or {} for d in leaf_datasets(cfg.train_dataloader)]
    skips_empty = any(filter_cfg.get('filter_empty_gt') for filter_cfg in filters)
    train = data.splits['train']
    return train.annotated_count if skips_empty else train.image_count


# --- data sets


def _adapt_loader(cfg: Config, split: str, data: PreparedData) -> Iterator[str]:
    loader, paths = cfg.get(f'{split}_dataloader'), data.splits[split]
    if not loader:
        return
    replace_leaf(loader, 'dataset', _dataset(next(leaf_datasets(loader)), paths, data))
    stems = f', listed in {paths.stems_file}' if paths.stems_file else ''
    yield (
        f'{split}_dataloader: {counted(paths.image_count, "image")} of {paths.images}{stems}, '
        f'annotations {paths.annotations}'
    )


def _dataset(recipe: ConfigDict, paths: PreparedSplit, data: PreparedData) -> ConfigDict:
    """Return the config of a split of the user, with the pipeline of the recipe."""
    metainfo = dict(classes=data.classes, palette=[tuple(colour) for colour in data.palette])
    kept = {key: recipe[key] for key in _KEPT if key in recipe}
    if 'min_size' in kept.get('filter_cfg', ()):
        # MMDetection would skip smaller images, which can be trained on as well.
        kept['filter_cfg'] = {k: v for k, v in kept['filter_cfg'].items() if k != 'min_size'}
    common = dict(data_root=f'{data.root}/', metainfo=metainfo, **kept)
    images, annotations = (relative(p, data.root) for p in (paths.images, paths.annotations))
    if data.kind == 'coco':
        return ConfigDict(
            type='CocoDataset', ann_file=annotations, data_prefix=dict(img=images), **common
        )
    stems = dict(ann_file=relative(paths.stems_file, data.root)) if paths.stems_file else {}
    return ConfigDict(
        type='BaseSegDataset',
        **stems,
        data_prefix=dict(img_path=images, seg_map_path=annotations),
        img_suffix=data.image_suffix,
        seg_map_suffix=data.map_suffix,
        reduce_zero_label=data.reduce_zero_label,
        **common,
    )


def replace_leaf(node: ConfigDict, key: str, leaf: ConfigDict) -> None:
    """Put a data set into the wrappers of a loader; of several joined data sets one remains."""
    inner = node[key]
    if 'datasets' in inner:
        # One data set, with the wrappers of the first one.
        node[key] = inner = inner['datasets'][0]
    if 'dataset' in inner:
        replace_leaf(inner, 'dataset', leaf)
    else:
        node[key] = leaf


# --- evaluators


def _adapt_evaluator(cfg: Config, split: str, data: PreparedData) -> Iterator[str]:
    key = f'{split}_evaluator'
    if not cfg.get(key):
        return
    evaluators = as_list(cfg[key])
    if data.kind == 'maps':
        kept = [e for e in evaluators if type_name(e).endswith('IoUMetric')]
        cfg[key] = kept or dict(type='IoUMetric', iou_metrics=['mIoU'])
    else:
        path = str(data.splits[split].annotations)
        kept = [dict(e, ann_file=path) for e in evaluators if type_name(e).endswith('CocoMetric')]
        metric = ['bbox', 'segm'] if _learns_masks(cfg) else ['bbox']
        cfg[key] = kept or dict(type='CocoMetric', metric=metric, ann_file=path)
        yield f'{key}.ann_file = {path}'
    if len(cfg[key]) == 1 and isinstance(cfg[key], list):
        cfg[key] = cfg[key][0]
    if not kept:
        yield f'{key}.type = {cfg[key].type}, because the recipe has one for its own data set'


# --- small images


def _let_anchors_cross_borders(cfg: Config) -> Iterator[str]:
    """Use all anchors: MMDetection stops at an image that has none inside."""
    for node in dicts_below(cfg.model.get('train_cfg')):
        if node.get('allowed_border', -1) >= 0:
            node.allowed_border = -1
            yield 'model.train_cfg: allowed_border = -1, some images are too small for an anchor'


# --- masks


def _leave_stuff_out(cfg: Config) -> Iterator[str]:
    """Remove the semantic head of HTC and SCNet, which learns from label maps of COCO-Stuff."""
    roi_head = cfg.model.get('roi_head') or {}
    if 'semantic_head' not in roi_head:
        return
    for key in ('semantic_head', 'semantic_roi_extractor'):
        roi_head.pop(key, None)
    for transform in _annotation_transforms(cfg):
        if transform.get('with_seg'):
            transform.with_seg = False
    yield 'no label maps of stuff: the semantic head is left out'


def _leave_masks_out(cfg: Config) -> Iterator[str]:
    """Remove the mask head of a two-stage detector, which then learns boxes."""
    if not _learns_masks(cfg):
        return
    roi_head = cfg.model.get('roi_head') or {}
    if 'mask_head' not in roi_head:
        raise UserError(
            'the objects have boxes and no masks, but this config learns masks: choose the config '
            'of a two-stage detector, where the mask head can be left out, or one for boxes'
        )
    for key in ('mask_head', 'mask_roi_extractor'):
        roi_head.pop(key, None)
    for transform in _annotation_transforms(cfg):
        if transform.get('with_mask'):
            transform.with_mask = False
    for key in ('val_evaluator', 'test_evaluator'):
        for evaluator in as_list(cfg.get(key)):
            if 'metric' in evaluator:
                evaluator.metric = 'bbox'
    yield 'no masks: the objects have boxes only, so the mask head is left out'


def _learns_masks(cfg: Config) -> bool:
    return any(transform.get('with_mask') for transform in _annotation_transforms(cfg))


def _annotation_transforms(cfg: Config) -> Iterator[ConfigDict]:
    """Yield the LoadAnnotations transforms of all pipelines, including test-time augmentation."""
    keys = (*(f'{split}_dataloader' for split in _SPLITS), 'tta_pipeline')
    for key in keys:
        for node in dicts_below(cfg.get(key)):
            if type_name(node).endswith('LoadAnnotations'):
                yield node
