"""Check the numbers of a run: a wrong one would fail late, or train nothing in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from numbers import Real

from mmengine.config import Config

from convnext_mm.config.places import PLACES
from convnext_mm.messages.findings import Finding, error

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# The smallest value of each setting.
_INTEGERS = {
    **{f'{loader}.batch_size': 1 for loader in _LOADERS},
    **{f'{loader}.num_workers': 0 for loader in _LOADERS},
    **{f'train_cfg.{key}': 1 for key in ('max_epochs', 'max_iters', 'val_interval')},
    'randomness.seed': 0,
}
# Sizes in pixels, in the pipelines. A -1 is no limit.
_SIZES = {'scale', 'crop_size'}
_NUMBERS = {f'optim_wrapper.optimizer.{key}': 0 for key in ('lr', 'weight_decay')}


def check_values(cfg: Config, parts: Collection[str] = tuple(PLACES)) -> Iterator[Finding]:
    """Check the settings that are a number, where the config has them.

    Args:
        cfg: A config.
        parts: The settings to check, by top-level key.
    """
    for key, least in {**_INTEGERS, **_NUMBERS}.items():
        value = _value(cfg, key) if key.partition('.')[0] in parts else None
        if value is None:
            continue
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        is_number = is_number and (key in _NUMBERS or value % 1 == 0)
        if not is_number or not value >= least:  # NaN is not
            kind = 'a number' if key in _NUMBERS else 'a whole number'
            yield error(key, f'{value!r} must be {kind} of at least {least}')
    for loader in (loader for loader in _LOADERS if loader in parts):
        yield from _check_sizes(cfg.get(loader), loader)


def _check_sizes(node: object, path: str) -> Iterator[Finding]:
    """Check the sizes of images in a pipeline: OpenCV fails late if a side has no pixels."""
    if isinstance(node, Mapping):
        for key in _SIZES & node.keys():
            sides = node[key] if isinstance(node[key], (list, tuple)) else [node[key]]
            if any(side == 0 for side in sides if not isinstance(side, bool)):
                yield error(f'{path}.{key}', f'{node[key]!r}: an image has sides of at least 1 px')
    elif not isinstance(node, (list, tuple)):
        return
    for key, child in node.items() if isinstance(node, Mapping) else enumerate(node):
        yield from _check_sizes(child, f'{path}.{key}')


def _value(cfg: Config, key: str) -> object:
    node: object = cfg
    for name in key.split('.'):
        node = node.get(name) if isinstance(node, (Config, Mapping)) else None
    return node
