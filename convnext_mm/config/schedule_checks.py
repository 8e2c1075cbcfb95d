"""What of a schedule is probably not meant: said by lr_table, the doctor and before a training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import scheduler_name, schedulers
from convnext_mm.config.schedule import differences, last_end, stretched
from convnext_mm.messages.log import log_once

# A group that keeps more of its peak than the heads by this factor is one an eta_min holds up.
_HELD_UP = 1.1
# Where eta_min is more of the peak than this, the schedule is no decay for the heads either.
_RATIO = 0.5


def warn_of_cut_off_schedule(cfg: Config) -> None:
    """Say so if the training ends before its schedule does."""
    for warning in cut_off(cfg):
        log_once(warning, logging.WARNING)


def cut_off(cfg: Config) -> Iterator[str]:
    """What of the schedule the training is too short for: its length alone was changed."""
    train_cfg = cfg.get('train_cfg') or {}
    by_epoch = 'max_iters' not in train_cfg
    length = train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    unit = ('epoch' if by_epoch else 'iteration') + 's' * (length != 1)
    counted = [s for s in schedulers(cfg) if s.get('by_epoch', True) == by_epoch]
    late = [text for s in counted if length for text in _beyond(s, length)]
    if not late:
        return
    before, recipe = schedulers(cfg), last_end(cfg, by_epoch)
    after = stretched(cfg, recipe, length, by_epoch) if recipe > length else before
    if any(s.get('end', math.inf) <= s.get('begin', 0) for s in after):
        after = before  # one would have to be left out, which no option does
    fitting = [
        f'{scheduler_name(cfg, index)}.{key}={_option(value)}'
        for index, changed in differences(before, after)
        for key, value in changed.items()
    ]
    yield (
        f'the training ends after {length:,} {unit}, too early for {", ".join(late)}: '
        + (f'to fit it, --cfg-options {" ".join(fitting)}' if fitting else 'choose lower ones')
    )


def flattened(cfg: Config, rates: Sequence[tuple[float, float]]) -> Iterator[str]:
    """An ``eta_min`` that is the same for all parameter groups, and so undoes their decay.

    Args:
        cfg: The config with the schedulers.
        rates: For each group the peak of its learning rate, as the optimizer has it, and the last.
    """
    floor = next(floors(cfg), None)
    if floor is None:
        return
    index, scheduler = floor
    peak, end = max(rates)
    left = [(last / own, own) for own, last in rates if own]
    held_up = [(kept, own) for kept, own in left if kept > _HELD_UP * end / peak]
    if not held_up:
        return
    kept, own = max(held_up)
    ratio = scheduler.eta_min / peak
    remedy = f'Set {scheduler_name(cfg, index)}.eta_min=0'
    # PolyLR knows no ratio.
    if 'Cosine' in scheduler.type and ratio < _RATIO:
        remedy += f', or eta_min=None and eta_min_ratio={ratio:g}'
    yield (
        f'eta_min={scheduler.eta_min:g} of {scheduler.type} is the same for all groups '
        f'and flattens their decay: where the heads end at {end / peak:.0%} of {peak:.3g}, '
        f'{len(held_up)} group{"s end" if len(held_up) > 1 else " ends"} higher, '
        f'up to {kept:.0%} of {own:.3g}. {remedy}'
    )


def floors(cfg: Config) -> Iterator[tuple[int, ConfigDict]]:
    """The schedulers of the learning rate with an absolute ``eta_min``, and their places."""
    for index, scheduler in enumerate(schedulers(cfg)):
        of_rate = scheduler.get('param_name', 'lr') == 'lr' and 'Momentum' not in scheduler.type
        if scheduler.get('eta_min') and of_rate:
            yield index, scheduler


def _beyond(scheduler: ConfigDict, length: int) -> Iterator[str]:
    kind = scheduler.type.rpartition('.')[2]
    if kind.startswith('MultiStep'):
        beyond = [f'{m:,}' for m in scheduler.milestones if m >= length]
        if beyond and length > 1:  # in a single epoch nothing can be a milestone
            yield f'milestone{"s" if len(beyond) > 1 else ""} {" and ".join(beyond)} of {kind}'
    elif kind.startswith(('CosineAnnealing', 'Poly', 'Linear')):
        key = 'T_max' if scheduler.get('T_max') else 'end'
        done = scheduler.get(key) or 0
        if done + (key == 'T_max') * scheduler.get('begin', 0) > length:
            yield f'{key} {done:,} of {kind}'


def _option(value: object) -> str:
    return f'"[{",".join(map(str, value))}]"' if isinstance(value, list) else str(value)
