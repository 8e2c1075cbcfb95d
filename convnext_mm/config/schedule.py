"""A recipe's schedule for a set of another size.

The rule: a run goes through the data as often as the recipe does, but takes no fewer than
``MIN_STEPS`` steps, each of the batch that the recipe's learning rate is for.

- A recipe in epochs keeps its number; if that is fewer steps, each epoch goes through the images
  several times (RepeatDataset).
- A recipe in iterations becomes as much shorter as the set is smaller than the recipe's, and never
  longer; evaluations and checkpoints stay as many. Where the recipe's set is not known, it stays.
- Warm-up keeps its length, up to a tenth of the run, and is left out of one of too few epochs for
  it; what follows it is stretched to the new end.

A length given on the command line (``train_cfg.max_epochs`` or ``max_iters``) is kept, and the
schedules are stretched to it, milestones too; but not those in epochs of which a setting was given.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import scheduler_name, schedulers

MIN_STEPS = 1000
WARM_UP = 0.1  # of the run, at most

_COUNTS = ('begin', 'end', 'T_max', 'total_iters', 'milestones')


def fit_schedule(
    cfg: Config, images: int, before: int | None, given: Collection[str] = ()
) -> Iterator[str]:
    """Change a config's length and schedules; yields a line for each change.

    Args:
        cfg: Its training data set is the user's already.
        images: How many are trained on.
        before: How many the recipe is for, if that is known.
        given: Dotted names of settings that the user chose, which stay.
    """
    batch = max(cfg.get('auto_scale_lr', {}).get('base_batch_size', 1), _batch_size(cfg))
    if 'max_iters' in cfg.train_cfg:
        yield from _fit_iterations(cfg, images, before, given)
    else:
        yield from _fit_epochs(cfg, images, batch, given)


def _fit_epochs(cfg: Config, images: int, batch: int, given: Collection[str]) -> Iterator[str]:
    epochs = cfg.train_cfg.max_epochs
    repeats = math.prod(r.get('times', 1) for r in _repeats(cfg.train_dataloader.dataset))
    times = max(1, math.ceil(MIN_STEPS * batch / (epochs * images * repeats)))
    chosen = 'train_cfg.max_epochs' in given
    if chosen:
        times = 1
    if times > 1:
        inner = next(iter(_repeats(cfg.train_dataloader.dataset)), None)
        if inner is not None:
            inner.times *= times
        else:
            _wrap_leaves(cfg.train_dataloader)
            (inner,) = _repeats(cfg.train_dataloader.dataset)
            inner.times = times
        repeats *= times
    steps = epochs * math.ceil(repeats * images / batch)
    length = f'{epochs} epoch{"s" if epochs > 1 else ""}'
    each = f'{repeats} x {images:,}' if repeats > 1 else f'{images:,}'
    yield (
        f'schedule: {length} as {"given" if chosen else "in the recipe"}, {each} images each: '
        f'{steps:,} step{"s" if steps > 1 else ""} at a batch of {batch}'
    )
    yield from _fit_schedulers(cfg, stretched(cfg, last_end(cfg), steps))
    recipe = max(last_end(cfg, by_epoch=True), _recipes_epochs(cfg) if chosen else 0)
    if chosen and recipe:
        after = stretched(cfg, recipe, epochs, by_epoch=True)
        for index, scheduler in enumerate(schedulers(cfg)):
            name = f'{scheduler_name(cfg, index)}.'
            if any(key == 'param_scheduler' or f'{key}.'.startswith(name) for key in given):
                after[index] = scheduler
        yield from _fit_schedulers(cfg, after)


def _fit_iterations(
    cfg: Config, images: int, before: int | None, given: Collection[str]
) -> Iterator[str]:
    length = cfg.train_cfg.max_iters
    recipe = max(last_end(cfg), length) if before else last_end(cfg) or length
    if 'train_cfg.max_iters' in given:
        recipe = last_end(cfg) or length
        yield f'schedule: {length:,} iterations, as given'
    elif before is None:
        yield f'schedule: {length:,} iterations as in the recipe, whose data set is not known'
    else:
        length = min(recipe, max(MIN_STEPS, round(recipe * images / before)))
        cfg.train_cfg.max_iters = length
        yield (
            f'schedule: {length:,} iterations for {images:,} images; in the recipe {recipe:,} for '
            f'{before:,}, and no fewer than {MIN_STEPS:,}'
        )
    if length == recipe:
        return
    yield from _fit_schedulers(cfg, stretched(cfg, recipe, length))
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    intervals = [(cfg.train_cfg, 'val_interval', 'train_cfg.val_interval')]
    if not checkpoint.get('by_epoch', True):
        intervals.append((checkpoint, 'interval', 'default_hooks.checkpoint.interval'))
    for node, key, name in intervals:
        if node.get(key, 0) > 1 and name not in given:
            node[key] = max(1, round(node[key] * length / recipe))
            yield f'{name} = {node[key]:,}'


def stretched(cfg: Config, recipe: int, length: int, by_epoch: bool = False) -> list[ConfigDict]:
    """The schedulers, of a run of `recipe` iterations or epochs, for a run of `length`.

    Those that count the other of the two are left as they are.
    """
    found = copy.deepcopy(schedulers(cfg))
    counted = [s for s in found if s.get('by_epoch', True) == by_epoch]
    warm_ups = [s for s in counted if s.get('begin', 0) == 0 and s.get('end', 0) > 0]
    end = min((s.end for s in warm_ups), default=0)
    whole = by_epoch or 'max_iters' in cfg.train_cfg
    if end == recipe and whole:
        end = 0  # it is no warm-up but the run's whole schedule
    # At two steps MMEngine's LinearLR reaches its end, at one it stays where it starts.
    least = 1 if warm_ups and all(s.get('convert_to_iter_based') for s in warm_ups) else 2
    warm_up = min(end, max(least, int(length * WARM_UP)))
    if by_epoch and warm_up >= length:
        warm_up = 0  # the schedule itself is worth more
    move = _moved(end, warm_up, recipe, length if whole else recipe)
    for scheduler in counted:
        for key in _COUNTS:
            value = scheduler.get(key)
            if isinstance(value, (list, tuple)):
                # Down, for at the end of the run a milestone has no effect.
                scheduler[key] = sorted({math.floor(move(v)) for v in value} - {0})
            elif isinstance(value, int) and key in ('T_max', 'total_iters'):
                # A number of steps from the scheduler's begin on.
                rest = scheduler.get('end', round(move(value))) - scheduler.get('begin', 0)
                scheduler[key] = rest
            elif isinstance(value, int):
                scheduler[key] = round(move(value))
    return found


def differences(
    before: list[ConfigDict], after: list[ConfigDict]
) -> Iterator[tuple[int, ConfigDict]]:
    """The settings that schedulers have otherwise than before, with their place in the list."""
    for index, (old, new) in enumerate(zip(before, after)):
        changed = {key: new[key] for key in _COUNTS if key in new and new[key] != old[key]}
        if changed:
            yield index, ConfigDict(changed)


def last_end(cfg: Config, by_epoch: bool = False) -> int:
    """Where the schedules in iterations, or epochs, end; 0 without any."""
    ends = [s.get('end', 0) for s in schedulers(cfg) if s.get('by_epoch', True) == by_epoch]
    return max((end for end in ends if isinstance(end, int)), default=0)


def _fit_schedulers(cfg: Config, after: list[ConfigDict]) -> Iterator[str]:
    before = schedulers(cfg)
    for index, changed in differences(before, after):
        old = before[index]
        values = (
            f'{key} {_text(new)} instead of {_text(old[key])}' for key, new in changed.items()
        )
        unit = 'epochs' if old.get('by_epoch', True) else 'iterations'
        yield f'{old.type}, in {unit}: {", ".join(values)}'
    if after != before:
        # Of a short run the warm-up may be nothing, or what comes after it.
        cfg.param_scheduler = [s for s in after if s.get('begin', 0) < s.get('end', math.inf)]


def _recipes_epochs(cfg: Config) -> int:
    """The length before it was chosen, where a schedule without an end goes on to it."""
    endless = any('end' not in s for s in schedulers(cfg) if s.get('by_epoch', True))
    if not endless or not Path(cfg.filename or '').is_file():
        return 0
    return Config.fromfile(cfg.filename).train_cfg.get('max_epochs', 0)


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_text, value))}]'
    return f'{value:,}'


def _moved(end: int, warm_up: int, recipe: int, length: int) -> Callable[[int], float]:
    """From a step of the recipe to one of the run: warm-up to warm-up, rest to rest."""

    def move(step: int) -> float:
        if step <= end:
            return step * warm_up / end if end else step
        if recipe <= end:
            return step
        return warm_up + (step - end) * (length - warm_up) / (recipe - end)

    return move


def _batch_size(cfg: Config) -> int:
    return cfg.train_dataloader.get('batch_size', 1)


def _repeats(node: object) -> Iterator[ConfigDict]:
    """The RepeatDatasets around a data set."""
    while isinstance(node, dict) and 'dataset' in node:
        if node.get('type', '').endswith('RepeatDataset'):
            yield node
        node = node['dataset']


def _wrap_leaves(node: ConfigDict) -> None:
    """Put the innermost data set into a RepeatDataset: what mixes images stays around it."""
    while 'dataset' in node.dataset:
        node = node.dataset
    node.dataset = ConfigDict(type='RepeatDataset', times=1, dataset=node.dataset)
