"""The learning rate of each parameter of a config, without data, weights or a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from mmengine.config import Config
from mmengine.optim import OptimWrapper, _ParamScheduler, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import schedulers
from convnext_mm.config.schedule_checks import (
    cut_off_schedule,
    erased_decay,
    flattened_decay,
    late_hooks,
)
from convnext_mm.messages.findings import as_text as as_message
from convnext_mm.optim import format_layer_ids

# Iterations per epoch, for schedules that MMEngine converts; without data the length is unknown.
_EPOCH_LENGTH = 1000
_HEADER = ('layer', 'lr scale', 'lr start', 'lr peak', 'lr end', 'decay', 'tensors', 'parameters')


@dataclass(frozen=True, order=True)
class Rate:
    """A learning rate during the training: its largest, its first and its last value."""

    peak: float
    start: float
    end: float


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share learning rate and weight decay.

    Attributes:
        layers: Layer ids of :mod:`convnext_mm.layer_decay`; empty with another optimizer wrapper
            constructor.
        lr_scale: The initial learning rate relative to the highest group, usually the heads.
        rate: The learning rate during the training.
        weight_decay: The weight decay.
        names: The names of the parameter tensors.
        parameters: The number of values in them.
    """

    layers: tuple[int, ...]
    lr_scale: float
    rate: Rate
    weight_decay: float
    names: tuple[str, ...]
    parameters: int


@dataclass(frozen=True)
class LrTable:
    """All parameter groups of a config, from the lowest learning rate to the highest.

    Attributes:
        groups: The groups.
        frozen: The names of frozen parameter tensors.
        frozen_parameters: The number of values in them.
        warnings: Likely mistakes in the schedule.
    """

    groups: tuple[ParamGroup, ...]
    frozen: tuple[str, ...]
    frozen_parameters: int
    warnings: tuple[str, ...]


def lr_table(cfg: Config) -> LrTable:
    """Build the model, the optimizer and the schedule of a config, and run the whole schedule.

    The length of an epoch is unknown without data. Schedules by iteration run first and schedules
    by epoch after them, as if the former ended within the first epoch.

    Args:
        cfg: A config with `model`, `optim_wrapper` and `train_cfg`. It is not changed.

    Raises:
        SettingError: The settings of the optimizer contradict the model.
    """
    model = build_on_meta(cfg)
    wrapper_cfg = dict(cfg.optim_wrapper, type='OptimWrapper')
    for key in ('loss_scale', 'dtype'):  # mixed precision needs a GPU and does not change the rates
        wrapper_cfg.pop(key, None)
    wrapper = build_optim_wrapper(model, wrapper_cfg)
    rates = _run_schedule(cfg, wrapper)
    # Schedulers store the rate of the optimizer as initial_lr.
    initial = [g.get('initial_lr', g['lr']) for g in wrapper.optimizer.param_groups]
    names = {param: name for name, param in model.named_parameters()}

    # Some constructors make one group per parameter; equal groups become one row.
    merged: dict[tuple, list[nn.Parameter]] = {}
    for group, lr, rate in zip(wrapper.optimizer.param_groups, initial, rates, strict=True):
        key = (lr / max(initial), rate, group['weight_decay'], tuple(group.get('layer_ids', ())))
        merged.setdefault(key, []).extend(group['params'])
    groups = tuple(
        ParamGroup(
            layers=layers,
            lr_scale=lr_scale,
            rate=rate,
            weight_decay=weight_decay,
            names=tuple(names[param] for param in params),
            parameters=sum(param.numel() for param in params),
        )
        for (lr_scale, rate, weight_decay, layers), params in sorted(merged.items())
    )
    frozen = {n: p.numel() for n, p in model.named_parameters() if not p.requires_grad}
    return LrTable(groups, tuple(frozen), sum(frozen.values()), tuple(_warnings(cfg, groups)))


def _run_schedule(cfg: Config, wrapper: OptimWrapper) -> list[Rate]:
    """Return the learning rate of each optimizer group during the whole training."""
    built = _build_schedulers(cfg, wrapper)
    by_epoch = [s for s in built if s.by_epoch]
    by_iteration = [s for s in built if not s.by_epoch]
    epochs = cfg.train_cfg.get('max_epochs')
    iterations = cfg.train_cfg.get('max_iters') or max((s.end for s in by_iteration), default=0)
    wrapper.step()  # otherwise MMEngine's schedulers warn that the optimizer has not stepped

    groups = wrapper.optimizer.param_groups
    start = last = [group['lr'] for group in groups]
    peak = start
    for active in (*[by_iteration] * iterations, *[by_epoch] * (epochs or 0)):
        for scheduler in active:
            scheduler.step()
        last = [group['lr'] for group in groups]
        peak = list(map(max, peak, last))
    return [Rate(*rate) for rate in zip(peak, start, last)]


def _build_schedulers(cfg: Config, wrapper: OptimWrapper) -> list[_ParamScheduler]:
    """Build the schedulers as MMEngine's Runner does: without an end, they last to the end."""
    train_cfg = cfg.train_cfg
    epochs = train_cfg.get('max_epochs', 0)
    ends = {True: epochs, False: train_cfg.get('max_iters', epochs * _EPOCH_LENGTH)}
    return [
        PARAM_SCHEDULERS.build(
            {'end': ends[scheduler.get('by_epoch', True)], **scheduler},
            default_args=dict(optimizer=wrapper, epoch_length=_EPOCH_LENGTH),
        )
        for scheduler in schedulers(cfg)
    ]


def _warnings(cfg: Config, groups: Sequence[ParamGroup]) -> Iterator[str]:
    peak = max(groups, key=lambda group: group.lr_scale).rate.peak
    rates = [(group.lr_scale * peak, group.rate.end) for group in groups]
    for finding in (
        *erased_decay(cfg),
        *late_hooks(cfg),
        *cut_off_schedule(cfg),
        *flattened_decay(cfg, rates),
    ):
        yield as_message([finding])


def as_text(table: LrTable) -> str:
    """Write the table with aligned columns."""
    rows = _rows(table)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ('  '.join(cell.rjust(w) for cell, w in zip(row, widths)) for row in rows)
    return '\n'.join([*lines, *_notes(table)])


def as_markdown(table: LrTable) -> str:
    """Write the table as GitHub markdown."""
    header, *rows = (f'| {" | ".join(row)} |' for row in _rows(table))
    rule = '|' + '--:|' * len(_HEADER)
    return '\n'.join([header, rule, *rows, *(f'\n{note}' for note in _notes(table))])


def as_json(table: LrTable) -> str:
    """Write the table as JSON, with the names of all parameters."""
    return json.dumps(asdict(table), indent=1)


def _rows(table: LrTable) -> list[tuple[str, ...]]:
    def rows() -> Iterator[tuple[str, ...]]:
        yield _HEADER
        for group in table.groups:
            yield (
                format_layer_ids(group.layers) if group.layers else '-',
                f'{group.lr_scale:.5f}',
                *(f'{lr:.3g}' for lr in (group.rate.start, group.rate.peak, group.rate.end)),
                f'{group.weight_decay:g}',
                str(len(group.names)),
                f'{group.parameters:,}',
            )

    return list(rows())


def _notes(table: LrTable) -> Iterator[str]:
    trained = sum(group.parameters for group in table.groups)
    tensors = sum(len(group.names) for group in table.groups)
    yield (
        f'{tensors} tensors with {trained:,} parameters train in {len(table.groups)} groups; '
        f'frozen: {len(table.frozen)} tensors with {table.frozen_parameters:,} parameters'
    )
    yield from (f'warning: {warning}' for warning in table.warnings)
