"""Rescale a schedule: for gradients of several batches, or for a data set of another size.

This module alone knows which arguments of MMEngine's schedulers count iterations or epochs.

:func:`multiply_iterations` makes everything that counts iterations a whole number of times longer.
:func:`rescale_schedule` changes a recipe for a data set of another size.

The rule: a run goes through the data as often as the recipe does, but takes no fewer than
``MIN_STEPS`` steps, each with the batch size of the recipe.

- A recipe in epochs keeps its number of epochs. If that is fewer steps, each epoch goes through the
  images several times (RepeatDataset). Its schedules in iterations get the length of the run.
- A recipe in iterations gets shorter in proportion to the size of the data set, and never longer.
  The number of evaluations and checkpoints stays. The recipe stays as it is if the size of its own
  data set is not known.
- The warm-up keeps its length, up to a tenth of the run. If the run has too few epochs for a
  warm-up, it is left out. The rest of the schedule is rescaled to the new end.

A length given on the command line (``train_cfg.max_epochs`` or ``max_iters``) is kept, and the
schedules are rescaled to it, milestones too. A scheduler stays as it is if the command line changes
one of its settings.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import scheduler_name, schedulers, type_name
from convnext_mm.messages.wording import counted, listed

MIN_STEPS = 1000
WARM_UP = 0.1  # of the run, at most

# Arguments of MMEngine's schedulers that name a point of the training.
_POINTS = ('begin', 'end')
# Arguments that count from the scheduler's begin on: to one point, to several, or in succession.
_LENGTHS = ('T_max', 'total_iters', 'total_steps', 'step_size')
_MILESTONES = 'milestones'
_PERIODS = 'periods'
_COUNTS = (*_POINTS, *_LENGTHS, _MILESTONES, _PERIODS, 'gamma')

# The schedulers without other counts, by their names without these suffixes. ReduceOnPlateau is
# not among them, because it counts evaluations.
_KNOWN = (
    *('Constant', 'CosineAnnealing', 'CosineRestart', 'Exponential', 'Linear', 'MultiStep'),
    *('OneCycle', 'LayerDecayOneCycle', 'Poly', 'Step', 'QuadraticWarmup'),
)
_SUFFIXES = ('LR', 'Momentum', 'ParamScheduler')

# The moving averages whose momentum falls over the first iterations, and the default of `gamma`,
# which says how many iterations that takes.
_EMA_GAMMAS = {'ExpMomentumEMA': 2000, 'MomentumAnnealingEMA': 100}
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
    cfg: Config,
    images: int,
    recipe_images: int | None,
    given: Collection[str] = (),
    batch: int | None = None,
) -> Iterator[str]:
    """Change the length and the schedules of a config, in place; yield a line for each change.

    Args:
        cfg: A config whose training data set is the new one already.
        images: The number of training images.
        recipe_images: The number of training images that the recipe is for, if that is known.
        given: Dotted names of settings that the user chose. They stay.
        batch: The number of images in an iteration of the run; by default the batch size that the
            recipe is for, which --accumulate keeps.
    """
    if 'max_iters' in cfg.train_cfg:
        yield from _rescale_iterations(cfg, images, recipe_images, given)
    else:
        yield from _rescale_epochs(cfg, images, recipe_images, given, batch)
    yield from unknown_counts(schedulers(cfg))


def rescaled_schedulers(
    cfg: Config, recipe: int, length: int, by_epoch: bool = False
) -> list[ConfigDict]:
    """Return the schedulers of a run of `recipe` iterations or epochs for a run of `length`.

    Schedulers that count in the other unit are returned as they are.
    """
    found = schedulers(cfg)
    warm_ups = [s for s in schedulers_in(cfg, by_epoch) if is_warm_up(s) and s.end < recipe]
    end = max((s.end for s in warm_ups), default=0)
    # MMEngine's LinearLR reaches its end after two steps. After one it stays where it starts.
    least = 1 if warm_ups and all(s.get('convert_to_iter_based') for s in warm_ups) else 2
    warm_up = min(end, max(least, int(length * WARM_UP)))
    if by_epoch and warm_up >= length:
        warm_up = 0
    move = _piecewise(end, warm_up, recipe, length)
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
    """Return the last iteration, or epoch, that the schedules name as an end; 0 if none does."""
    return max((end for s in schedulers_in(cfg, by_epoch) for end in ends(s).values()), default=0)


def ends(scheduler: ConfigDict) -> dict[str, int]:
    """Return the points of a training where a scheduler ends, by the setting that says so."""
    begin = scheduler.get('begin', 0)
    found = {key: begin + (scheduler.get(key) or 0) for key in ('T_max', 'total_steps')}
    found |= {_PERIODS: begin + sum(scheduler.get(_PERIODS) or ()), 'end': scheduler.get('end')}
    return {key: end for key, end in found.items() if scheduler.get(key) and isinstance(end, int)}


def schedulers_in(cfg: Config, by_epoch: bool) -> list[ConfigDict]:
    """Return the schedulers that count epochs, or iterations."""
    return [s for s in schedulers(cfg) if s.get('by_epoch', True) == by_epoch]


def is_warm_up(scheduler: ConfigDict) -> bool:
    """Return whether a scheduler raises the rate, as at the start of a training."""
    kind = type_name(scheduler)
    if not scheduler.get('end'):
        return False
    if kind.startswith('Linear'):
        return scheduler.get('start_factor', 1 / 3) < scheduler.get('end_factor', 1.0)
    return not scheduler.get('begin') and (kind.startswith('Constant') or 'Warmup' in kind)


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
    if 'gamma' in scheduler and type_name(scheduler).startswith('Exponential'):
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


def _rescale_epochs(
    cfg: Config,
    images: int,
    recipe_images: int | None,
    given: Collection[str],
    batch: int | None,
) -> Iterator[str]:
    loaded = cfg.train_dataloader.get('batch_size', 1)
    base = max(cfg.get('auto_scale_lr', {}).get('base_batch_size', 1), loaded)
    epochs = cfg.train_cfg.max_epochs
    repeats = math.prod(r.get('times', 1) for r in _repeats(cfg.train_dataloader.dataset))
    chosen = 'train_cfg.max_epochs' in given
    recipe_epochs = _in_file(cfg, 'max_epochs') if chosen else epochs
    recipe_steps = (recipe_epochs or epochs) * math.ceil((recipe_images or 0) * repeats / base)
    times = max(1, math.ceil(MIN_STEPS * base / (epochs * images * repeats)))
    if times > 1 and not chosen:
        yield from _repeat(cfg.train_dataloader, times)
        repeats *= times
    steps = epochs * math.ceil(repeats * images / base)
    batch = batch or base
    iterations = epochs * math.ceil(repeats * images / batch)
    each = f'{repeats} x {images:,}' if repeats > 1 else f'{images:,}'
    meant = f'; the recipe is for a batch of {base}' if batch != base else ''
    yield (
        f'schedule: {counted(epochs, "epoch")} as {"given" if chosen else "in the recipe"}, '
        f'{each} images each: {counted(iterations, "step")} at a batch of {batch}{meant}'
    )
    in_iterations = schedulers_in(cfg, by_epoch=False)
    decays = [s for s in in_iterations if not is_warm_up(s)]
    # Without an end, MMEngine ends a scheduler with the run.
    recipe = max((end for s in decays for end in ends(s).values()), default=recipe_steps)
    if not decays:
        # A warm-up ends before its recipe does.
        recipe = last_end(cfg) + 1
        yield from _replace_schedulers(cfg, rescaled_schedulers(cfg, recipe, steps), given)
    elif recipe:
        yield from _replace_schedulers(cfg, rescaled_schedulers(cfg, recipe, iterations), given)
    else:
        yield from (
            f'{type_name(s)}, in iterations, stays as it is: the length of its recipe is not known'
            for s in decays
        )
    recipe = max(last_end(cfg, by_epoch=True), recipe_epochs)
    if chosen and recipe:
        after = rescaled_schedulers(cfg, recipe, epochs, by_epoch=True)
        yield from _replace_schedulers(cfg, after, given)
    if chosen and recipe_epochs:
        yield from _rescale_epoch_counts(cfg, epochs / recipe_epochs, given)


def epoch_counts(cfg: Config) -> Iterator[tuple[str, ConfigDict, str]]:
    """Yield the settings of hooks that count epochs: dotted name, hook and key.

    These are whole numbers with ``epoch`` in their name, such as ``switch_epoch`` of RTMDet.
    """
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        for key, value in hook.items():
            if 'epoch' in key and type(value) is int and value > 0:  # and not bool, as by_epoch
                yield f'custom_hooks.{index}.{key}', hook, key


def _rescale_epoch_counts(cfg: Config, ratio: float, given: Collection[str]) -> Iterator[str]:
    """Change the epochs of hooks and evaluations, in place; yield a line for each change."""
    nodes = [*epoch_counts(cfg), ('train_cfg.val_begin', cfg.train_cfg, 'val_begin')]
    for name, node, key in nodes:
        old = node.get(key, 1)
        new = max(1, round(old * ratio))
        if new != old and name not in given and old > 1:
            node[key] = new
            yield f'{name} = {new:,} instead of {old:,}'
    before = cfg.train_cfg.get('dynamic_intervals')
    if before and 'train_cfg.dynamic_intervals' not in given:
        after = [(max(1, round(begin * ratio)), interval) for begin, interval in before]
        cfg.train_cfg.dynamic_intervals = after
        yield f'train_cfg.dynamic_intervals = {after} instead of {before}'


def _rescale_iterations(
    cfg: Config, images: int, recipe_images: int | None, given: Collection[str]
) -> Iterator[str]:
    length = cfg.train_cfg.max_iters
    recipe = max(last_end(cfg), length) if recipe_images else last_end(cfg) or length
    if 'train_cfg.max_iters' in given:
        recipe = max(last_end(cfg), _in_file(cfg, 'max_iters')) or length
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
        yield from _replace_schedulers(cfg, rescaled_schedulers(cfg, recipe, length), given)
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
        if type_name(hook).endswith('EMAHook'):
            hook.setdefault('interval', 1)
            average = type_name(dict(type=hook.get('ema_type', '')))
            if average in _EMA_GAMMAS:
                hook.setdefault('gamma', _EMA_GAMMAS[average])
            nodes.append((f'custom_hooks.{index}', hook, ('interval', 'begin_iter', 'gamma')))
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


def _replace_schedulers(
    cfg: Config, after: list[ConfigDict], given: Collection[str]
) -> Iterator[str]:
    """Set the schedulers of a config; yield a line for each that changes or cannot change.

    A scheduler stays as it is if the user chose one of its settings.
    """
    before = schedulers(cfg)
    for index, scheduler in enumerate(before):
        name = f'{scheduler_name(cfg, index)}.'
        if any(key == 'param_scheduler' or f'{key}.'.startswith(name) for key in given):
            after[index] = scheduler
    for index, changed in changed_settings(before, after):
        old = before[index]
        values = (
            f'{key} {_text(new)} instead of {_text(old[key])}' for key, new in changed.items()
        )
        yield f'{type_name(old)}, in {_unit(old)}: {", ".join(values)}'
    if after != before:
        # In a short run, nothing may be left of the warm-up or of the schedule that follows it.
        _set_schedulers(cfg, [s for s in after if s.get('begin', 0) < s.get('end', math.inf)])


def unknown_counts(found: list[ConfigDict]) -> Iterator[str]:
    """Yield a line for each scheduler with arguments that this module does not rescale."""
    for scheduler in found:
        kind = type_name(scheduler)
        if kind.startswith('ReduceOnPlateau'):
            yield f'{kind} counts evaluations and stays as it is'
        elif not any(kind.removesuffix(end) in _KNOWN for end in _SUFFIXES):
            yield (
                f'{kind} is no scheduler of MMEngine: of its settings, only '
                f'{listed(_COUNTS[:-1], len(_COUNTS))} follow the length of the training'
            )


def _unit(scheduler: ConfigDict) -> str:
    return 'epochs' if scheduler.get('by_epoch', True) else 'iterations'


def _set_schedulers(cfg: Config, after: list[ConfigDict]) -> None:
    if cfg.get('param_scheduler'):
        one = isinstance(cfg.param_scheduler, dict) and len(after) == 1
        cfg.param_scheduler = after[0] if one else after


def _in_file(cfg: Config, key: str) -> int:
    """Return the length in the config's file, on which a schedule without an end depends."""
    if not Path(cfg.filename or '').is_file():
        return 0
    return Config.fromfile(cfg.filename).train_cfg.get(key, 0)


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_text, value))}]'
    return f'{value:,}' if isinstance(value, int) else f'{value:g}'


def _repeats(node: object) -> Iterator[ConfigDict]:
    """Yield the RepeatDatasets around a data set."""
    while isinstance(node, dict) and 'dataset' in node:
        if type_name(node) == 'RepeatDataset':
            yield node
        node = node['dataset']


def _repeat(loader: ConfigDict, times: int) -> Iterator[str]:
    """Go through the images of a loader several times in an epoch; yield a line for other changes.

    ClassBalancedDataset and ClassAwareSampler ask a data set for its classes, and RepeatDataset
    cannot answer.
    """
    repeat = next(_repeats(loader.dataset), None)
    if repeat is None:
        # As far inside as possible, so that wrappers that mix images stay around it.
        node = loader
        while 'dataset' in node.dataset and type_name(node.dataset) != 'ClassBalancedDataset':
            node = node.dataset
        node.dataset = ConfigDict(type='RepeatDataset', times=1, dataset=node.dataset)
        repeat = node.dataset
    repeat.times *= times
    sampler = type_name(loader.get('sampler') or {})
    if sampler == 'ClassAwareSampler':
        loader.sampler = ConfigDict(type='DefaultSampler', shuffle=True)
        yield f'train_dataloader.sampler = DefaultSampler, because {sampler} cannot repeat images'
