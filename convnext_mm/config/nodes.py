"""Walk through a config: its data sets, its schedulers, every dict below a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import Config, ConfigDict


def dicts_below(node: object) -> Iterator[ConfigDict]:
    """Yield every dict below a node of a config, and the node itself."""
    if isinstance(node, dict):
        yield node
        node = node.values()
    elif not isinstance(node, (list, tuple)):
        return
    for child in node:
        yield from dicts_below(child)


def type_name(node: Mapping) -> str:
    """Return the name of the class that a config dict builds, without its scope or package.

    A ``type`` may be a name (``'PolyLR'``, ``'mmengine.PolyLR'``, ``'package.module.PolyLR'``) or
    the class itself.
    """
    kind = node.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def leaf_datasets(node: object) -> Iterator[ConfigDict]:
    """Yield the data sets of a loader, without wrappers such as RepeatDataset or ConcatDataset."""
    if isinstance(node, dict):
        if 'dataset' in node or 'datasets' in node:
            yield from leaf_datasets(node.get('dataset'))
            yield from leaf_datasets(node.get('datasets'))
        elif 'type' in node:
            yield node
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from leaf_datasets(child)


def schedulers(cfg: Config) -> list[ConfigDict]:
    """Return the configs of the parameter schedulers: one, several or none."""
    found = cfg.get('param_scheduler') or []
    return [found] if isinstance(found, dict) else list(found)


def scheduler_name(cfg: Config, index: int) -> str:
    """Return the name of a scheduler in ``--cfg-options``."""
    listed = isinstance(cfg.param_scheduler, (list, tuple))
    return f'param_scheduler.{index}' if listed else 'param_scheduler'
