"""Read the scalars that MMEngine logs during a training."""

from __future__ import annotations

import json
import math
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


# The records of a log, each with the iteration it was written at.
Records = list[tuple[int, dict[str, float]]]


def read_trainings(work_dir: Path) -> list[Records]:
    """Return the logs of the trainings in a work dir, oldest first; a resumed one has several."""
    logs = map(_read, sorted(work_dir.glob('*/vis_data/scalars.json')))
    # Tests have a log too, but without a loss.
    return [log for log in logs if any('loss' in record for _, record in log)]


def read_scalars(work_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Return each scalar of a training as (iteration, value) pairs.

    Evaluations get the iteration after which they ran; MMEngine numbers them by epoch if it trains
    by epoch. A resumed training has several logs. Of each log only the records before the first
    iteration of the next one are used.

    Raises:
        FileNotFoundError: The work dir has no log of a training.
    """
    logs = read_trainings(work_dir)
    if not logs:
        raise FileNotFoundError(f'{work_dir} has no vis_data/scalars.json of a training')
    scalars: dict[str, list[tuple[int, float]]] = defaultdict(list)
    firsts = [next(at for at, record in log if 'loss' in record) for log in logs]
    for number, log in enumerate(logs, 1):
        until = min(firsts[number:], default=math.inf)
        for iteration, record in log:
            if iteration < until:
                for name, value in record.items():
                    scalars[name].append((iteration, value))
    return scalars


def _read(log: Path) -> Records:
    records, iteration = [], 0
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # an incomplete line of a killed run
            continue
        if 'loss' in record:
            iteration = record['iter'] if 'iter' in record else record['step']
        records.append((iteration, record))
    return records


def plot_curves(work_dir: Path, path: Path) -> None:
    """Draw loss, learning rate and metrics over the iterations into a PNG.

    Args:
        work_dir: Where the training logged.
        path: PNG to write.

    Raises:
        OSError: There is no log, or the PNG cannot be written.
    """
    scalars = read_scalars(work_dir)
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
