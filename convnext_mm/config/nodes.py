"""Walk through a config: data sets, evaluators, schedulers, every dict below a node, types."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping

from mmengine import registry
from mmengine.config import Config, ConfigDict

from convnext_mm.errors import UserError

_REGISTRIES = [r for r in vars(registry).values() if isinstance(r, registry.Registry)]
# Packages whose classes MMEngine finds by their names alone: it imports them, or MMCV does.
_ALWAYS_IMPORTED = ('mmengine', 'mmcv', 'torch')


def dicts_below(node: object) -> Iterator[ConfigDict]:
    """Yield every dict below a node of a config, and the node itself."""
    for _, found in dicts_by_path(node, ''):
        yield found


def dicts_by_path(
    node: object, path: str, left_out: Collection[str] = ()
) -> Iterator[tuple[str, ConfigDict]]:
    """Yield every dict below a node of a config, and the node itself, with their dotted keys.

    Args:
        node: A part of a config.
        path: Its dotted key.
        left_out: Keys below which no dict is yielded.
    """
    if isinstance(node, dict):
        yield path, node
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, child in items:
        if key not in left_out:
            yield from dicts_by_path(child, f'{path}.{key}', left_out)


def as_list(node: object) -> list:
    """Return the dicts of a setting that may be one dict, a list of dicts, or absent."""
    return list(node) if isinstance(node, (list, tuple)) else [node] if node else []


def type_name(node: Mapping) -> str:
    """Return the name of the class that a config dict builds, without its scope or package.

    A ``type`` may be a name (``'PolyLR'``, ``'mmengine.PolyLR'``, ``'package.module.PolyLR'``) or
    the class itself.
    """
    kind = node.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def is_segmentation(cfg: Config) -> bool:
    """Return whether a config is for a segmentor, and not for a detector."""
    return cfg.get('default_scope') == 'mmseg'


def is_classification(cfg: Config) -> bool:
    """Return whether a config is for a classifier of MMPretrain."""
    return cfg.get('default_scope') == 'mmpretrain'


def refuse_classifier(cfg: Config, purpose: str) -> None:
    """Raise a UserError if a config is for a classifier, which a purpose does not know."""
    if is_classification(cfg):
        raise UserError(
            f'{purpose} is for detectors and segmentors, and this config is for a classifier. '
            'Classifiers can be trained and tested, see docs/imagenet.md'
        )


def with_type_names(cfg: Config) -> Config:
    """Return a config in which classes and functions are named as in a text config.

    A config in pure Python has ``type=MultiStepLR``, imported from MMEngine. This becomes
    ``type='MultiStepLR'``, so that all other code knows one form, and the config can be written.
    Without a ``default_scope``, the config gets the scope of its model.
    """
    values = {key: cfg[key] for key in cfg.to_dict()}  # to_dict() leaves out what was imported
    if not any(callable(kind) for node in dicts_below(values) for kind in node.values()):
        return cfg
    scope = values.get('default_scope') or _registered((values.get('model') or {}).get('type'))[1]
    if scope:
        values['default_scope'] = scope
    named = _with_names(values, scope)
    return Config(named, cfg_text=cfg.text, filename=cfg.filename, env_variables=cfg.env_variables)


def _with_names(node: object, scope: str | None) -> object:
    if isinstance(node, dict):
        return {key: _with_names(child, scope) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_with_names(child, scope) for child in node)
    return _name_in_config(node, scope) if callable(node) else node


def _name_in_config(value: object, scope: str | None) -> object:
    """Return the name by which MMEngine finds a class or function; others stay as they are."""
    module, name = getattr(value, '__module__', None), getattr(value, '__qualname__', None)
    if not module or not name:  # such as a method of a module in C
        return value
    package = module.partition('.')[0]
    registered, own_scope = _registered(value)
    if package in _ALWAYS_IMPORTED and registered and own_scope == 'mmengine':
        return registered
    if module.startswith('mmcv.ops.'):  # MMDetection looks for RoIAlign and nms there by name
        return name
    if package == own_scope:
        return registered if own_scope == scope else f'{own_scope}.{registered}'
    if getattr(importlib.import_module(package), name, None) is value:
        return f'{package}.{name}'
    return f'{module}.{name}' if name.isidentifier() else value


def _registered(value: object) -> tuple[str | None, str | None]:
    """Return the name and the scope under which a class or function is registered, if it is."""
    for root in _REGISTRIES:
        for found in (root, *root.children.values()):
            for name, registered in found.module_dict.items():
                if registered is value:
                    return name, found.scope
    return None, None


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
    return as_list(cfg[f'{split}_evaluator'])


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
    return as_list(cfg.get('param_scheduler'))


def scheduler_name(cfg: Config, index: int) -> str:
    """Return the name of a scheduler in ``--cfg-options``."""
    listed = isinstance(cfg.param_scheduler, (list, tuple))
    return f'param_scheduler.{index}' if listed else 'param_scheduler'
