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


def _value(cfg: Config, key: str) -> object:
    node: object = cfg
    for name in key.split('.'):
        node = node.get(name) if isinstance(node, (Config, Mapping)) else None
    return node
