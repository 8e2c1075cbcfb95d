"""Training curves from the scalars MMEngine logs."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convnext_mm.evaluation.table import AP_COLUMNS, AP_ROWS

# Metrics worth a curve, and their names in the plot.
_METRICS = {
    f'{prefix}{key}': f'{row} {AP_COLUMNS[key]}'
    for key in ('mAP', 'mAP_50')
    for prefix, row in AP_ROWS.items()
} | {'mIoU': 'mIoU'}


def read_scalars(log_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of a run as (iteration, value) pairs, from ``vis_data/scalars.json``.

    MMEngine numbers evaluations in epochs where it trains in epochs; here they are at the
    iteration they happened at.
    """
    scalars: dict[str, list[tuple[int, float]]] = defaultdict(list)
    iteration = 0
    for line in (log_dir / 'vis_data' / 'scalars.json').read_text().splitlines():
        record = json.loads(line)
        if 'loss' in record:
            iteration = record['iter'] if 'iter' in record else record['step']
        for name, value in record.items():
            scalars[name].append((iteration, value))
    return scalars


def plot_curves(log_dir: Path, path: Path) -> None:
    """Draw loss, learning rate and metrics over the iterations into a PNG.

    Args:
        log_dir: The run's time-stamped folder in the work dir.
        path: PNG to write.
    """
    scalars = read_scalars(log_dir)
    figure = Figure(figsize=(10, 4), layout='constrained')
    loss_axes, metric_axes = figure.subplots(1, 2)

    loss_axes.plot(*zip(*scalars['loss']), color='tab:blue', label='loss')
    loss_axes.set(xlabel='iteration', ylabel='loss', ylim=(0, None), title='training')
    rate_axes = loss_axes.twinx()
    # With several parameter groups `lr` is the first one's, the stem's.
    rates = scalars.get('base_lr') or scalars['lr']
    rate_axes.plot(*zip(*rates), color='tab:gray', lw=0.8, label='learning rate')
    rate_axes.set(ylabel='learning rate', ylim=(0, None))
    loss_axes.legend(handles=[*loss_axes.lines, *rate_axes.lines], loc='upper right')

    for name, label in _METRICS.items():
        if name in scalars:
            metric_axes.plot(*zip(*scalars[name]), marker='o', ms=4, label=label)
    if metric_axes.lines:
        metric_axes.legend(loc='lower right')
    metric_axes.set(xlabel='iteration', title='validation', ylim=(0, None))
    for axes in (loss_axes, metric_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
