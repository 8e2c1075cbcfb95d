"""Check that data sets, annotation files and heads have the same classes."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from convnext_mm.config.classes import lazy_datasets
from convnext_mm.config.heads import check_heads
from convnext_mm.config.model import build_on_meta
from convnext_mm.datasets.labels import check_loaders, classes_of
from convnext_mm.messages.findings import Finding, note, ok
from convnext_mm.messages.wording import such_as

_LOADERS = ('train_dataloader', 'val_dataloader')


def check_class_names(cfg: Config) -> Iterator[Finding]:
    """Compare the classes of the data sets, of their files and of the heads."""
    try:
        datasets = {loader: list(lazy_datasets(cfg, loader)) for loader in _LOADERS}
    except (AssertionError, OSError):  # Some data sets of MMSegmentation need their files, as VOC.
        yield note('classes', 'not checked: the files of the data set are missing')
        return
    found = list(check_loaders(datasets))
    named = [dataset for several in datasets.values() for dataset in several if classes_of(dataset)]
    if not named:
        yield note('classes', 'not checked: the data sets name no classes')
        return
    if not getattr(named[0], 'return_classes', False):  # text, for which heads have no output
        found += check_heads(build_on_meta(cfg), named[0].metainfo)
    yield from found
    if not found:
        names = such_as(classes_of(named[0]), 'class')
        yield ok('classes', f'data sets and heads have the same {names}')
