"""The classes of a config and of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from convnext_mm.config.nodes import leaf_datasets


def dataset_metainfo(cfg: Config, loader: str = 'test_dataloader') -> dict:
    """Return the ``metainfo`` of the data set of a loader: `classes`, and `palette` if it has one.

    The files of the data set are not read. The result is empty if there is no such loader, or if
    its data set has no classes.
    """
    try:
        built = next(lazy_datasets(cfg, loader), None)
        metainfo = {} if built is None else built.metainfo
    except (AssertionError, OSError):  # Some data sets need their files, such as VOC.
        dataset = next(leaf_datasets(cfg.get(loader)))
        with DATASETS.switch_scope_and_registry(None) as registry:
            known = registry.get(dataset.type).METAINFO
        metainfo = {**known, **(dataset.get('metainfo') or {})}
    return dict(metainfo) if metainfo.get('classes') else {}


def lazy_datasets(cfg: Config, loader: str) -> Iterator[BaseDataset]:
    """Build the data sets of a loader, without wrappers; their files are not read."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for dataset in leaf_datasets(cfg.get(loader)):
        yield DATASETS.build({**dataset, 'lazy_init': True, 'pipeline': []})


def checkpoint_metainfo(content: Mapping) -> dict:
    """Return the ``metainfo`` that a training saved in its checkpoint; it may be empty.

    MMDetection 2 and MMSegmentation 0 wrote ``CLASSES`` and ``PALETTE``.
    """
    meta = content.get('meta') or {}
    meta = meta.get('dataset_meta') or meta
    found = {str(key).lower(): value for key, value in meta.items()}
    if not found.get('classes'):
        return {}
    if isinstance(found['classes'], str):  # one class, written as ('name') without a comma
        found['classes'] = (found['classes'],)
    return {key: found[key] for key in ('classes', 'palette') if found.get(key) is not None}
