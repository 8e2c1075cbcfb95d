"""Rescale a schedule: for gradients of several batches, or for a data set of another size.

This module alone knows which arguments of MMEngine's schedulers count iterations or epochs.

:func:`multiply_iterations` makes everything that counts iterations a whole number of times longer.
:func:`rescale_schedule` changes a recipe for a data set of another size.

The rule: a run goes through the data as often as the recipe does, but takes no fewer than
``MIN_STEPS`` steps, each with the batch size of the recipe.

- A recipe in epochs keeps its number of epochs. If that is fewer steps, each epoch goes through the
  images several times (RepeatDataset).
- A recipe in iterations gets shorter in proportion to the size of the data set, and never longer.
  The number of evaluations and checkpoints stays. The recipe stays as it is if the size of its own
  data set is not known.
- The warm-up keeps its length, up to a tenth of the run. If the run has too few epochs for a
  warm-up, it is left out. The rest of the schedule is rescaled to the new end.

A length given on the command line (``train_cfg.max_epochs`` or ``max_iters``) is kept, and the
schedules are rescaled to it, milestones too. A scheduler in epochs stays as it is if the command
line changes one of its settings.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import scheduler_name, schedulers
from convnext_mm.messages.wording import counted

MIN_STEPS = 1000
WARM_UP = 0.1  # of the run, at most

# Arguments of MMEngine's schedulers that name a point of the training.
_POINTS = ('begin', 'end')
# Arguments that count from the scheduler's begin on: to one point, to several, or in succession.
_LENGTHS = ('T_max', 'total_iters', 'total_steps', 'step_size')
_MILESTONES = 'milestones'
_PERIODS = 'periods'
_COUNTS = (*_POINTS, *_LENGTHS, _MILESTONES, _PERIODS, 'gamma')

_DEFAULT_VAL_INTERVAL = 1000  # of MMEngine's IterBasedTrainLoop


def multiply_iterations(cfg: Config, factor: int) -> None:
    """Make everything that the config counts in iterations `factor` times as long, in place.

    These are the length of the training, the schedules, and the intervals of evaluation,
    checkpoints and EMA. Hooks of other packages stay as they are.
    """
    length = cfg.train_cfg.get('max_iters', 1)
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.max_iters = length * factor
    _set_schedulers(
        cfg,
        [
            s if s.get('by_epoch', True) else _moved(s, lambda step: step * factor, length)
            for s in schedulers(cfg)
        ],
    )
    for _ in _rescale_intervals(cfg, factor):
        pass


def rescale_schedule(
    cfg: Config, images: int, recipe_images: int | None, given: Collection[str] = ()
) -> Iterator[str]:
    """Change the length and the schedules of a config, in place; yield a line for each change.

    Args:
        cfg: A config whose training data set is the new one already.
        images: The number of training images.
        recipe_images: The number of training images that the recipe is for, if that is known.
        given: Dotted names of settings that the user chose. They stay.
    """
    if 'max_iters' in cfg.train_cfg:
        yield from _rescale_iterations(cfg, images, recipe_images, given)
    else:
        yield from _rescale_epochs(cfg, images, given)


def rescaled_schedulers(
    cfg: Config, recipe: int, length: int, by_epoch: bool = False
) -> list[ConfigDict]:
    """Return the schedulers of a run of `recipe` iterations or epochs for a run of `length`.

    Schedulers that count in the other unit are returned as they are.
    """
    found = schedulers(cfg)
    warm_ups = [
        s
        for s in found
        if s.get('by_epoch', True) == by_epoch and s.get('begin', 0) == 0 and s.get('end', 0) > 0
    ]
    end = min((s.end for s in warm_ups), default=0)
    whole = by_epoch or 'max_iters' in cfg.train_cfg
    if end == recipe and whole:
        end = 0  # The scheduler covers the whole run, so it is no warm-up.
    # MMEngine's LinearLR reaches its end after two steps. After one it stays where it starts.
    least = 1 if warm_ups and all(s.get('convert_to_iter_based') for s in warm_ups) else 2
    warm_up = min(end, max(least, int(length * WARM_UP)))
    if by_epoch and warm_up >= length:
        warm_up = 0
    move = _piecewise(end, warm_up, recipe, length if whole else recipe)
    return [
        _moved(s, move, recipe) if s.get('by_epoch', True) == by_epoch else copy.deepcopy(s)
        for s in found
    ]


def changed_settings(
    before: list[ConfigDict], after: list[ConfigDict]
) -> Iterator[tuple[int, ConfigDict]]:
    """Yield the index of each scheduler that differs, and its new settings."""
    for index, (old, new) in enumerate(zip(before, after)):
        changed = {key: new[key] for key in _COUNTS if key in new and new[key] != old[key]}
        if changed:
            yield index, ConfigDict(changed)


def last_end(cfg: Config, by_epoch: bool = False) -> int:
    """Return the last iteration, or epoch, of the schedules; 0 if there are none."""
    ends = [s.get('end', 0) for s in schedulers(cfg) if s.get('by_epoch', True) == by_epoch]
    return max((end for end in ends if isinstance(end, int)), default=0)


def _moved(scheduler: ConfigDict, move: Callable[[int], float], length: int) -> ConfigDict:
    """Return a copy of a scheduler with its counts moved.

    Args:
        scheduler: The config of a scheduler.
        move: The function from a step of the old schedule to the step of the new one.
        length: The end of the old schedule, for a scheduler without one.
    """
    moved = copy.deepcopy(scheduler)
    begin = scheduler.get('begin', 0)
    start = round(move(begin))
    end = max(scheduler.get('end', length), begin + 1)
    ratio = (move(end) - move(begin)) / (end - begin)
    for key in _POINTS:
        if isinstance(scheduler.get(key), int):
            moved[key] = round(move(scheduler[key]))
    for key in _LENGTHS:
        value = scheduler.get(key)
        if isinstance(value, int):
            # A step size is repeated over the whole range. Other lengths end at a point.
            span = value * ratio if key == 'step_size' else move(begin + value) - start
            moved[key] = max(1, round(span))
    if scheduler.get(_MILESTONES) is not None:
        # Rounded down: a milestone at the end of the run has no effect.
        points = {math.floor(move(begin + m)) - start for m in scheduler[_MILESTONES]}
        moved[_MILESTONES] = sorted(point for point in points if point > 0)
    if scheduler.get(_PERIODS) is not None:
        points = [round(move(p)) for p in itertools.accumulate(scheduler[_PERIODS], initial=begin)]
        moved[_PERIODS] = [max(1, b - a) for a, b in itertools.pairwise(points)]
    if 'gamma' in scheduler and scheduler.type.rpartition('.')[2].startswith('Exponential'):
        moved.gamma = scheduler.gamma ** (1 / ratio)  # ExponentialLR applies it at each step
    return moved


def _piecewise(end: int, warm_up: int, recipe: int, length: int) -> Callable[[int], float]:
    """Return the map from a step of the recipe to one of the run.

    The warm-up, `end` steps of the recipe, becomes `warm_up` steps. The rest of the `recipe` steps
    becomes the rest of the `length` steps.
    """

    def move(step: int) -> float:
        if step <= end:
            return step * warm_up / end if end else step
        if recipe <= end:
            return step
        return warm_up + (step - end) * (length - warm_up) / (recipe - end)

    return move


def _rescale_epochs(cfg: Config, images: int, given: Collection[str]) -> Iterator[str]:
    loaded = cfg.train_dataloader.get('batch_size', 1)
    batch = max(cfg.get('auto_scale_lr', {}).get('base_batch_size', 1), loaded)
    epochs = cfg.train_cfg.max_epochs
    repeats = math.prod(r.get('times', 1) for r in _repeats(cfg.train_dataloader.dataset))
    chosen = 'train_cfg.max_epochs' in given
    times = max(1, math.ceil(MIN_STEPS * batch / (epochs * images * repeats)))
    if times > 1 and not chosen:
        _repeat(cfg.train_dataloader, times)
        repeats *= times
    steps = epochs * math.ceil(repeats * images / batch)
    each = f'{repeats} x {images:,}' if repeats > 1 else f'{images:,}'
    yield (
        f'schedule: {counted(epochs, "epoch")} as {"given" if chosen else "in the recipe"}, '
        f'{each} images each: {counted(steps, "step")} at a batch of {batch}'
    )
    yield from _replace_schedulers(cfg, rescaled_schedulers(cfg, last_end(cfg), steps))
    recipe = max(last_end(cfg, by_epoch=True), _epochs_in_file(cfg) if chosen else 0)
    if chosen and recipe:
        after = rescaled_schedulers(cfg, recipe, epochs, by_epoch=True)
        for index, scheduler in enumerate(schedulers(cfg)):
            name = f'{scheduler_name(cfg, index)}.'
            if any(key == 'param_scheduler' or f'{key}.'.startswith(name) for key in given):
                after[index] = scheduler
        yield from _replace_schedulers(cfg, after)


def _rescale_iterations(
    cfg: Config, images: int, recipe_images: int | None, given: Collection[str]
) -> Iterator[str]:
    length = cfg.train_cfg.max_iters
    recipe = max(last_end(cfg), length) if recipe_images else last_end(cfg) or length
    if 'train_cfg.max_iters' in given:
        recipe = last_end(cfg) or length
        yield f'schedule: {length:,} iterations, as given'
    elif recipe_images is None:
        yield (
            f'schedule: {length:,} iterations as in the recipe; the size of its data set is not '
            'known'
        )
    else:
        length = min(recipe, max(MIN_STEPS, round(recipe * images / recipe_images)))
        cfg.train_cfg.max_iters = length
        yield (
            f'schedule: {length:,} iterations for {images:,} images; in the recipe {recipe:,} for '
            f'{recipe_images:,}, and no fewer than {MIN_STEPS:,}'
        )
    if length != recipe:
        yield from _replace_schedulers(cfg, rescaled_schedulers(cfg, recipe, length))
        yield from _rescale_intervals(cfg, length / recipe, given)


def _rescale_intervals(cfg: Config, ratio: float, given: Collection[str] = ()) -> Iterator[str]:
    """Change the intervals that count iterations, in place; yield a line for each change."""
    nodes: list[tuple[str, ConfigDict, tuple[str, ...]]] = []
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.setdefault('val_interval', _DEFAULT_VAL_INTERVAL)
        nodes.append(('train_cfg', cfg.train_cfg, ('val_interval', 'val_begin')))
        if cfg.train_cfg.get('dynamic_intervals'):
            cfg.train_cfg.dynamic_intervals = [
                (round(begin * ratio), max(1, round(interval * ratio)))
                for begin, interval in cfg.train_cfg.dynamic_intervals
            ]
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True):
        nodes.append(('default_hooks.checkpoint', checkpoint, ('interval', 'save_begin')))
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        if str(hook.get('type')).endswith('EMAHook'):
            hook.setdefault('interval', 1)
            nodes.append((f'custom_hooks.{index}', hook, ('interval', 'begin_iter')))
    for path, node, keys in nodes:
        for key in keys:
            name, value = f'{path}.{key}', node.get(key)
            # -1 is MMEngine's word for never.
            if not isinstance(value, int) or value < 1 or name in given:
                continue
            new = max(1, round(value * ratio))
            if new != value:
                node[key] = new
                yield f'{name} = {new:,}'


def _replace_schedulers(cfg: Config, after: list[ConfigDict]) -> Iterator[str]:
    """Set the schedulers of a config; yield a line for each that changes."""
    before = schedulers(cfg)
    for index, changed in changed_settings(before, after):
        old = before[index]
        values = (
            f'{key} {_text(new)} instead of {_text(old[key])}' for key, new in changed.items()
        )
        unit = 'epochs' if old.get('by_epoch', True) else 'iterations'
        yield f'{old.type}, in {unit}: {", ".join(values)}'
    if after != before:
        # In a short run, nothing may be left of the warm-up or of the schedule that follows it.
        _set_schedulers(cfg, [s for s in after if s.get('begin', 0) < s.get('end', math.inf)])


def _set_schedulers(cfg: Config, after: list[ConfigDict]) -> None:
    if cfg.get('param_scheduler'):
        one = isinstance(cfg.param_scheduler, dict) and len(after) == 1
        cfg.param_scheduler = after[0] if one else after


def _epochs_in_file(cfg: Config) -> int:
    """Return the length in the config's file, on which a schedule without an end depends."""
    endless = any('end' not in s for s in schedulers(cfg) if s.get('by_epoch', True))
    if not endless or not Path(cfg.filename or '').is_file():
        return 0
    return Config.fromfile(cfg.filename).train_cfg.get('max_epochs', 0)


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_text, value))}]'
    return f'{value:,}' if isinstance(value, int) else f'{value:g}'


def _repeats(node: object) -> Iterator[ConfigDict]:
    """Yield the RepeatDatasets around a data set."""
    while isinstance(node, dict) and 'dataset' in node:
        if node.get('type', '').endswith('RepeatDataset'):
            yield node
        node = node['dataset']


def _repeat(loader: ConfigDict, times: int) -> None:
    """Go through the images of a loader several times in an epoch."""
    repeat = next(_repeats(loader.dataset), None)
    if repeat is None:
        # Innermost, so that wrappers that mix images stay around it.
        node = loader
        while 'dataset' in node.dataset:
            node = node.dataset
        node.dataset = ConfigDict(type='RepeatDataset', times=1, dataset=node.dataset)
        repeat = node.dataset
    repeat.times *= times
