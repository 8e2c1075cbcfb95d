"""Check that data sets, annotation files and heads have the same classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from convnext_mm.config import classes
from convnext_mm.config.heads import num_classes_by_head
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.datasets import coco_scan
from convnext_mm.messages.findings import Finding, error, note, ok
from convnext_mm.messages.wording import listed, such_as

_LOADERS = ('train_dataloader', 'val_dataloader')


def check_class_names(cfg: Config) -> Iterator[Finding]:
    """Compare the class names of the data sets and files, and `num_classes` of every head."""
    names = {loader: classes.dataset_metainfo(cfg, loader).get('classes') for loader in _LOADERS}
    names = {loader: tuple(found) for loader, found in names.items() if found}
    trained = names.get('train_dataloader', ())
    findings = [
        *_compare_loaders(names, trained),
        *_compare_heads(cfg.model, trained),
        *(
            finding
            for loader in _LOADERS
            for dataset in leaf_datasets(cfg.get(loader))
            for finding in _compare_file(loader, dataset, names.get(loader, ()))
        ),
    ]
    if findings:
        yield from findings
    elif trained:
        yield ok('classes', f'data sets and heads have the same {such_as(trained, "class")}')
    else:
        yield note('classes', 'not checked: the data sets name no classes')


def _compare_loaders(
    names: Mapping[str, Sequence[str]], trained: Sequence[str]
) -> Iterator[Finding]:
    for loader, others in names.items():
        if others != trained:
            yield error(
                'classes',
                f'train_dataloader has {such_as(trained, "class")}, but {loader} has '
                f'{such_as(others, "class")}',
                'set the same metainfo=dict(classes=...) for all data sets',
            )


def _compare_heads(model: Mapping, trained: Sequence[str]) -> Iterator[Finding]:
    count = len(trained)
    wrong = [
        f'{path}.num_classes is {number}'
        for path, number in num_classes_by_head(model).items()
        if trained and number != count
    ]
    if wrong:
        yield error(
            'classes',
            f'{listed(wrong)}, but the data set has {such_as(trained, "class")}',
            f'set num_classes={count} in every head',
        )


def _compare_file(loader: str, dataset: Mapping, names: Sequence[str]) -> Iterator[Finding]:
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if path.suffix != '.json' or not path.is_file():
        return
    categories = [category['name'] for category in coco_scan.categories(path)]
    absent = [name for name in names if name not in categories]
    unused = [name for name in categories if name not in names]
    if absent:
        yield error(
            'classes',
            f'{path} has no category {listed(map(repr, absent))}; it has '
            f'{such_as(categories, "class")}',
            f'set metainfo=dict(classes=...) of {loader}.dataset to names from the file, and '
            'num_classes to their number',
        )
    elif unused:
        yield note(
            'classes',
            f'{path} also has objects of {such_as(unused, "class")}; the config does not name '
            'these classes, so the objects are not used',
        )
