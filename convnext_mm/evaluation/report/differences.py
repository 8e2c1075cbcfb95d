"""The settings in which a run differs from the recipe whose figures its config states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from mmengine.config import Config

import convnext_mm
from convnext_mm.config.batch_size import global_batch_size
from convnext_mm.config.reading import load_config
from convnext_mm.evaluation.tta.config import augment_test, is_augmented

# A clone has them beside the package; an installed package is alone.
_CONFIGS = Path(convnext_mm.__file__).parents[1] / 'configs'
# What a figure depends on, but for the data sets, which are in the loaders.
_COMPARED = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr')
# Where things are and how often one looks, at any depth.
_NOT_COMPARED = ('data_root', 'backend_args', 'val_interval', 'val_begin', 'dynamic_intervals')
_LOADER = ('batch_size', 'sampler', 'batch_sampler', 'dataset')
_ABSENT = object()
_LONGEST = 160  # characters of a value


def stated_by(cfg: Config) -> Config | None:
    """The recipe whose published figures a config states or inherits, as its file has it.

    None where the recipes are not installed, or none of them has these figures.
    """
    figures = [str(value) for value in cfg.published.values()]
    for path in sorted(_CONFIGS.glob('*/*.py')):
        text = path.read_text()
        if 'published =' in text and all(figure in text for figure in figures):
            recipe = load_config(path)
            if recipe.published == cfg.published:
                return recipe
    return None


def differences(recipe: Config, cfg: Config, split: str) -> list[tuple[str, str, str]]:
    """The settings that differ: their dotted names, the recipe's values and those here.

    Args:
        recipe: Of :func:`stated_by`; augmented in place, if the config is.
        cfg: The config that was run.
        split: What was evaluated, ``test``, or ``val`` in a training, of which the number of
            processes is known too.
    """
    if is_augmented(cfg):
        augment_test(recipe)
    both = (_compared(config, split) for config in (recipe, cfg))
    found = list(_differences(*both, ()))
    if split == 'val' and global_batch_size(cfg) != recipe.auto_scale_lr.base_batch_size:
        base = recipe.auto_scale_lr.base_batch_size
        found.append(('images a step', str(base), str(global_batch_size(cfg))))
    return found


def _compared(cfg: Config, split: str) -> dict:
    compared = {key: cfg[key] for key in _COMPARED if key in cfg}
    for name, keys in (('train_dataloader', _LOADER), (f'{split}_dataloader', ('dataset',))):
        loader = cfg.get(name) or {}
        compared[name] = {key: loader[key] for key in keys if key in loader}
    return compared


def _differences(theirs: object, here: object, path: tuple) -> Iterator[tuple[str, str, str]]:
    if isinstance(theirs, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys(chain(theirs, here)):
            if key not in _NOT_COMPARED:
                values = theirs.get(key, _ABSENT), here.get(key, _ABSENT)
                yield from _differences(*values, (*path, key))
    elif _alike(theirs, here):
        for index, values in enumerate(zip(theirs, here)):
            yield from _differences(*values, (*path, index))
    elif (words := _words(theirs)) != _words(here):
        yield '.'.join(map(str, path)), _short(words), _short(_words(here))


def _alike(theirs: object, here: object) -> bool:
    """Whether two lists hold dicts of the same types, one for one: two pipelines of some steps."""
    if not all(isinstance(node, (list, tuple)) for node in (theirs, here)):
        return False
    types = [[_type(element) for element in node] for node in (theirs, here)]
    return types[0] == types[1] and any(isinstance(e, (Mapping, list, tuple)) for e in theirs)


def _type(node: object) -> object:
    return node.get('type') if isinstance(node, Mapping) else type(node)


def _words(value: object) -> str:
    """A value as one reads it; equal for a list and a tuple, as configs take either."""
    if value is _ABSENT:
        return '\N{EN DASH}'
    if isinstance(value, Mapping):
        inner = (f'{key}={_words(child)}' for key, child in value.items() if key != 'type')
        return f'{value.get("type", "")}({", ".join(inner)})'
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_words, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'
