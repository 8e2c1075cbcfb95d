"""The classes that a config's data set and a checkpoint speak of."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from convnext_mm.config.nodes import leaf_datasets


def of_dataset(cfg: Config, loader: str = 'test_dataloader') -> dict:
    """The ``metainfo`` of a loader's data set, which is not read: `classes`, perhaps `palette`.

    Empty where there is no such loader, or its data set has no classes.
    """
    dataset = next(leaf_datasets(cfg.get(loader)), None)
    if dataset is None:
        return {}
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    built = DATASETS.build({**dataset, 'lazy_init': True, 'pipeline': []})
    return dict(built.metainfo) if built.metainfo.get('classes') else {}


def of_checkpoint(content: Mapping) -> dict:
    """The ``metainfo`` that training left in a checkpoint, or nothing: older ones wrote CLASSES."""
    meta = content.get('meta') or {}
    meta = meta.get('dataset_meta') or meta
    found = {str(key).lower(): value for key, value in meta.items()}
    if not found.get('classes'):
        return {}
    if isinstance(found['classes'], str):  # a data set of one class, written without its comma
        found['classes'] = (found['classes'],)
    return {key: found[key] for key in ('classes', 'palette') if found.get(key) is not None}
