"""Walk through a config: its data sets, its evaluators, its schedulers, every dict below a node."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config, ConfigDict

from convnext_mm.errors import UserError


def dicts_below(node: object) -> Iterator[ConfigDict]:
    """Yield every dict below a node of a config, and the node itself."""
    if isinstance(node, dict):
        yield node
        node = node.values()
    elif not isinstance(node, (list, tuple)):
        return
    for child in node:
        yield from dicts_below(child)


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


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """Return the evaluators of ``test`` or ``val``; a config may have one or several."""
    found = cfg[f'{split}_evaluator']
    return [found] if isinstance(found, dict) else list(found)


def coco_evaluator(cfg: Config, split: str, purpose: str) -> ConfigDict:
    """Return the evaluator of ``test`` or ``val`` that names an annotation file.

    Args:
        cfg: A config of a detector.
        split: ``test`` or ``val``.
        purpose: What needs the file, for the error message.

    Raises:
        UserError: There is none.
    """
    found = next((e for e in evaluators(cfg, split) if e.get('ann_file')), None)
    if found is None:
        raise UserError(f'{purpose} needs the ground truth, but {split}_evaluator has no ann_file')
    return found


def schedulers(cfg: Config) -> list[ConfigDict]:
    """Return the configs of the parameter schedulers: one, several or none."""
    found = cfg.get('param_scheduler') or []
    return [found] if isinstance(found, dict) else list(found)


def scheduler_name(cfg: Config, index: int) -> str:
    """Return the name of a scheduler in ``--cfg-options``."""
    listed = isinstance(cfg.param_scheduler, (list, tuple))
    return f'param_scheduler.{index}' if listed else 'param_scheduler'
