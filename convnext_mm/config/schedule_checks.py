"""Likely mistakes in a schedule. A training logs them, the doctor and lr_table print them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import dicts_below, scheduler_name, schedulers, type_name
from convnext_mm.config.schedule import (
    changed_settings,
    ends,
    epoch_counts,
    is_warm_up,
    last_end,
    rescaled_schedulers,
)
from convnext_mm.messages.findings import Finding, error, note
from convnext_mm.messages.wording import counted

# A group is held up by eta_min if the part of its peak that it keeps is this much larger than the
# part that the heads keep.
_HELD_UP = 1.1
# If eta_min is a larger part of the peak, the rate of the heads does not decay either.
_RATIO = 0.5
# The part of a training by which the end of a schedule may differ, such as by incomplete batches.
_CLOSE = 0.05
# The schedulers that reach their last rate at their end.
_DECAYING = (
    *('Constant', 'CosineAnnealing', 'CosineRestart', 'LayerDecayOneCycle', 'Linear', 'OneCycle'),
    'Poly',
)


def cut_off_schedule(cfg: Config) -> Iterator[Finding]:
    """Check that the schedule does not end after the training.

    It does if only the length of the training was changed.
    """
    train_cfg = cfg.get('train_cfg') or {}
    by_epoch = 'max_iters' not in train_cfg
    length = train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    same_unit = [s for s in schedulers(cfg) if s.get('by_epoch', True) == by_epoch]
    late = [text for s in same_unit if length for text in _after_the_end(s, length)]
    if not late:
        return
    before, recipe = schedulers(cfg), last_end(cfg, by_epoch)
    after = rescaled_schedulers(cfg, recipe, length, by_epoch) if recipe > length else before
    if any(s.get('end', math.inf) <= s.get('begin', 0) for s in after):
        after = before  # No option can leave a scheduler out.
    options = [
        f'{scheduler_name(cfg, index)}.{key}={_option(value)}'
        for index, changed in changed_settings(before, after)
        for key, value in changed.items()
    ]
    unit = 'epoch' if by_epoch else 'iteration'
    yield note(
        'schedule',
        f'the training ends after {counted(length, unit)}, too early for {", ".join(late)}',
        f'rescale it: --cfg-options {" ".join(options)}' if options else 'choose lower ones',
    )


def late_hooks(cfg: Config) -> Iterator[Finding]:
    """Check that the epochs of hooks are not after the training, as if only its length changed."""
    length = (cfg.get('train_cfg') or {}).get('max_epochs')
    for name, hook, key in epoch_counts(cfg):
        if length and hook[key] >= length and length > 1:
            yield note(
                'schedule',
                f'{key}={hook[key]} of {type_name(hook)} has no effect: the training ends after '
                f'{counted(length, "epoch")}',
                f'set {name} below {length}',
            )


def schedule_of_another_run(cfg: Config, iterations: int) -> Iterator[Finding]:
    """Check that a schedule in iterations has the length of a training in epochs.

    The number of iterations in an epoch depends on the data set and the batch size.

    Args:
        cfg: A config with schedulers.
        iterations: The number of iterations of the training.
    """
    if 'max_iters' in (cfg.get('train_cfg') or {}):
        return
    for index, scheduler in enumerate(schedulers(cfg)):
        if scheduler.get('by_epoch', True) or is_warm_up(scheduler):
            continue
        for key, end in [*ends(scheduler).items()][:1]:
            if abs(end - iterations) > _CLOSE * iterations:
                yield note(
                    'schedule',
                    f'the {key} of {type_name(scheduler)} is iteration {end:,}, and this training '
                    f'has {counted(iterations, "iteration")}',
                    f'change {scheduler_name(cfg, index)}.{key}, or count in epochs: by_epoch=True '
                    'and convert_to_iter_based=True',
                )


def erased_decay(cfg: Config) -> Iterator[Finding]:
    """Check that no scheduler gives the same learning rate to groups that differ.

    MMEngine's OneCycleLR sets ``eta_max`` in all parameter groups.
    """
    paramwise = cfg.get('optim_wrapper', {}).get('paramwise_cfg')
    differ = any(
        key.endswith(('lr_mult', 'decay_rate')) and value != 1
        for node in dicts_below(paramwise)
        for key, value in node.items()
    )
    for index, scheduler in enumerate(schedulers(cfg)):
        peak = scheduler.get('eta_max')
        if (
            differ
            and type_name(scheduler).startswith('OneCycle')
            and isinstance(peak, (int, float))
        ):
            yield error(
                'learning rates',
                f'{type_name(scheduler)} gives eta_max={peak:g} to all parameter groups, and '
                'erases the differences that paramwise_cfg makes',
                f'set {scheduler_name(cfg, index)}.type=convnext_mm.LayerDecayOneCycleLR, in which '
                'eta_max is the peak of the heads, and the other groups keep their part of it',
            )


def flattened_decay(cfg: Config, rates: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    """Check that ``eta_min`` does not cancel the layer-wise decay of the learning rate.

    An absolute ``eta_min``, or ``min_value`` of ReduceOnPlateauLR, is the same for all parameter
    groups.

    Args:
        cfg: A config with schedulers.
        rates: The peak and the last learning rate of each parameter group.
    """
    floor = next(floors(cfg), None)
    if floor is None:
        return
    index, key, low = floor
    kind = type_name(schedulers(cfg)[index])
    peak, end = max(rates)
    kept = [(last / own, own) for own, last in rates if own]
    held_up = [(part, own) for part, own in kept if part > _HELD_UP * end / peak]
    if not held_up:
        return
    part, own = max(held_up)
    ratio = low / peak
    remedy = f'set {scheduler_name(cfg, index)}.{key}=0'
    # PolyLR has no eta_min_ratio.
    if 'Cosine' in kind and ratio < _RATIO:
        remedy += f', or eta_min=None and eta_min_ratio={ratio:g}'
    yield note(
        'learning rates',
        f'{key}={low:g} of {kind} is the same for all groups '
        f'and flattens their decay: the heads end at {end / peak:.0%} of {peak:.3g}, '
        f'{counted(len(held_up), "group")} higher, up to {part:.0%} of {own:.3g}',
        remedy,
    )


def floors(cfg: Config) -> Iterator[tuple[int, str, float]]:
    """Yield each absolute lower bound of a learning rate: scheduler index, setting and value."""
    for index, scheduler in enumerate(schedulers(cfg)):
        is_lr = scheduler.get('param_name', 'lr') == 'lr' and 'Momentum' not in type_name(scheduler)
        for key in ('eta_min', 'min_value'):
            low = scheduler.get(key)
            if is_lr and isinstance(low, (int, float)) and low:
                yield index, key, low


def _after_the_end(scheduler: ConfigDict, length: int) -> Iterator[str]:
    """Yield the settings of a scheduler that lie after the end of the training."""
    kind = type_name(scheduler)
    begin = scheduler.get('begin', 0)
    if kind.startswith('MultiStep'):
        late = [f'{m:,}' for m in scheduler.milestones if begin + m >= length]
        if late and length > 1:  # A training of a single epoch has no room for a milestone.
            yield f'milestone{"s" if len(late) > 1 else ""} {" and ".join(late)} of {kind}'
    elif kind.startswith(_DECAYING):
        # The first is the setting that stretches the schedule; its end only stops it.
        for key, end in [*ends(scheduler).items()][:1]:
            if end > length:
                number = sum(scheduler.periods) if key == 'periods' else scheduler[key]
                yield f'{key} {number:,} of {kind}'


def _option(value: object) -> str:
    return f'"[{",".join(map(str, value))}]"' if isinstance(value, list) else str(value)
