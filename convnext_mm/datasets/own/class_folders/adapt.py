"""Adapt the config of a classifier to folders of images by class."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_mm.config.batch_size import images_per_iteration
from convnext_mm.config.heads import resize_heads
from convnext_mm.config.nodes import as_list, dicts_below, leaf_datasets
from convnext_mm.config.schedule import rescale_schedule
from convnext_mm.datasets.own.adapt_config import drop_recipe_data, replace_leaf
from convnext_mm.datasets.own.class_folders.folders import (
    LISTED_CLASSES,
    ClassFolders,
    Images,
    split_by_class,
)
from convnext_mm.datasets.own.files import relative
from convnext_mm.datasets.own.write import write_atomically
from convnext_mm.datasets.published.catalogue import training_images
from convnext_mm.messages.wording import counted, listed
from convnext_mm.visualization.palette import palette

_SPLITS = ('train', 'val', 'test')


def adapt_classifier(
    cfg: Config,
    found: ClassFolders,
    folder: Path,
    given: Collection[str] = (),
    *,
    accumulate: bool = False,
) -> list[str]:
    """Change a config, in place, so that it trains and tests on folders of images by class.

    Args:
        cfg: A classification config.
        found: The data set, without errors.
        folder: Where to write the list of images and classes of each split.
        given: Dotted names of settings that the user chose, which stay.
        accumulate: Whether the run accumulates batches up to the batch size of the recipe.

    Returns:
        One line for each change.
    """
    recipe_images = training_images(cfg)
    drop_recipe_data(cfg)
    classes = found.classes
    count = len(classes)
    changes = [f'{counted(count, "class")}: {listed(classes, LISTED_CLASSES)}']
    changes += resize_heads(cfg.model, count)
    changes += _set_classes_of_batches(cfg.model, count)
    changes += _lower_topk(cfg, count)

    splits = found.splits if 'val' in found.splits else split_by_class(found.splits['train'])
    splits = {'test': splits['val'], **splits}
    numbers = {name: number for number, name in enumerate(classes)}
    for split in _SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        path = folder / f'{split}.txt'
        write_atomically(path, _as_list_file(splits[split], numbers, found.root))
        replace_leaf(loader, 'dataset', _dataset(loader, found, path))
        images = sum(map(len, splits[split].values()))
        changes.append(f'{split}_dataloader: {counted(images, "image")}, listed in {path}')
    images = sum(map(len, splits['train'].values()))
    changes += _keep_last_batch(cfg.train_dataloader, images)
    batch = None if accumulate else images_per_iteration(cfg)
    changes += rescale_schedule(cfg, images, recipe_images, given, batch)
    return changes


def _as_list_file(images: Images, numbers: dict[str, int], root: Path) -> str:
    """Return the text of a list of images, each with the number of its class."""
    lines = (
        f'{relative(path, root)} {numbers[name]}'
        for name, group in images.items()
        for path in group
    )
    return '\n'.join(lines) + '\n'


def _dataset(loader: ConfigDict, found: ClassFolders, path: Path) -> ConfigDict:
    recipe = next(leaf_datasets(loader))
    return ConfigDict(
        type='CustomDataset',
        data_root=f'{found.root}/',
        ann_file=str(path),
        metainfo=dict(classes=found.classes, palette=palette(len(found.classes))),
        pipeline=recipe.pipeline,
    )


def _set_classes_of_batches(model: ConfigDict, classes: int) -> Iterator[str]:
    """Set the number of classes for the labels that Mixup and CutMix mix."""
    preprocessor = model.get('data_preprocessor') or {}
    if 'num_classes' in preprocessor:
        preprocessor.num_classes = classes
        yield f'model.data_preprocessor.num_classes = {classes}'


def _keep_last_batch(loader: ConfigDict, images: int) -> Iterator[str]:
    """Train on an incomplete batch if there is no complete one."""
    if loader.get('drop_last') and images < loader.batch_size:
        loader.drop_last = False
        yield 'train_dataloader.drop_last = False, the images fill no batch'


def _lower_topk(cfg: Config, classes: int) -> Iterator[str]:
    """Leave out the accuracies for more predictions than there are classes."""
    for key in ('val_evaluator', 'test_evaluator'):
        for evaluator in dicts_below(as_list(cfg.get(key))):
            ks = evaluator.get('topk')
            if isinstance(ks, (list, tuple)) and max(ks) >= classes:
                evaluator.topk = tuple(k for k in ks if k < classes)
                yield f'{key}.topk = {evaluator.topk}'
