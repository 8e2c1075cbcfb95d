"""Compare several runs on one page, from the metrics and logs in their work dirs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import plots
from convnext_mm.evaluation.report.html import write_page
from convnext_mm.evaluation.report.metrics_files import read_metrics
from convnext_mm.evaluation.table import AP_COLUMNS, AP_ROWS
from convnext_mm.evaluation.training_log import read_scalars, read_trainings
from convnext_mm.messages.findings import Finding, note
from convnext_mm.messages.wording import counted, listed

_NAME = 'comparison.html'
# The metric of a class in the metrics files, and the metric of an evaluation in the logs.
_BY_CLASS = {'detection': ('box_mAP', 'box AP'), 'segmentation': ('iou', 'IoU')}
_IN_LOGS = {f'{prefix}mAP': f'{kind} AP' for prefix, kind in AP_ROWS.items()} | {'mIoU': 'mIoU'}


def compare_runs(runs: Sequence[str | Path], folder: str | Path | None = None) -> Path:
    """Write ``comparison.html``: the metrics, classes, curves and settings of several runs.

    Args:
        runs: At least two work dirs with the ``metrics.json`` of a report.
        folder: Where to write; by default the folder that holds all the work dirs.

    Returns:
        The path of the page.

    Raises:
        UserError: A work dir has no metrics, or the runs are of different tasks.
    """
    paths = [Path(run) for run in runs]
    for path in paths:
        if not path.is_dir():
            raise UserError(f'{path}: no such folder; to compare runs, give their work dirs')
    absolute = [os.path.abspath(path) for path in paths]
    if len({*absolute}) < len(paths):
        raise UserError('the same work dir is given twice')
    shared = Path(os.path.commonpath(absolute))
    shared = shared if str(shared) not in absolute else shared.parent
    records = {str(Path(a).relative_to(shared)): read_metrics(p) for a, p in zip(absolute, paths)}
    tasks = {record['task'] for record in records.values()}
    if len(tasks) > 1:
        raise UserError(f'{", ".join(records)}: a detector and a segmentor cannot be compared')
    (task,) = tasks
    names = list(records)
    scalars = {n: read_scalars(p) for n, p in zip(names, paths) if read_trainings(p)}
    key, title = _BY_CLASS[task]
    curves = {n: r['precision_at_iou_50'] for n, r in records.items() if 'precision_at_iou_50' in r}
    return write_page(
        Path(folder or shared) / _NAME,
        'comparison.html.j2',
        runs=names,
        findings=list(_check(records)),
        metrics=_rows([_metrics(record) for record in records.values()]),
        class_metric=title,
        classes=_rows([{c['name']: c.get(key) for c in r['classes']} for r in records.values()]),
        precision_recall=plots.runs_precision_recall(curves) if curves else None,
        over_time=[
            plots.runs_over_time(found, name)
            for log, name in (_IN_LOGS | {'loss': 'training loss'}).items()
            if (found := {n: s[log] for n, s in scalars.items() if log in s})
        ],
        settings=_settings(records),
    )


def _metrics(record: dict) -> dict[str, float | None]:
    """Return the main metrics of a run by the names that a person reads, as fractions."""
    metrics = record['metrics']
    if record['task'] == 'segmentation':
        return metrics
    found = {
        f'{kind} {column}': values.get(key)
        for kind, values in metrics.items()
        for key, column in AP_COLUMNS.items()
    }
    return found | {'best F1': record.get('best_f1')}


def _rows(tables: Sequence[Mapping[str, float | None]]) -> list[dict]:
    """Return for each name its value in each run, the best of them, and the last minus the first.

    A value that does not exist is -1, as in COCO's metrics.
    """
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        found = [table.get(name) for table in tables]
        values = [v if isinstance(v, (int, float)) else -1.0 for v in found]
        known = values[0] >= 0 and values[-1] >= 0
        difference = values[-1] - values[0] if known else None
        rows.append(dict(name=name, values=values, best=max(values), difference=difference))
    return rows


def _settings(records: dict[str, dict]) -> list[tuple[str, list[str]]]:
    """Return the lines of the recipe in which the runs differ."""
    recipes = [record['recipe'] for record in records.values()]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    rows = [(key, [str(recipe.get(key, '\N{EN DASH}')) for recipe in recipes]) for key in keys]
    return [(key, values) for key, values in rows if len({*values}) > 1]


def _check(records: dict[str, dict]) -> Iterator[Finding]:
    """Yield the differences of the data that forbid a comparison."""
    for key, noun in (('dataset', ''), ('images', 'image'), ('objects', 'object')):
        values = {name: record.get(key) for name, record in records.items()}
        if len({*values.values()}) > 1:
            told = [f'{n}: {counted(v, noun) if noun else v}' for n, v in values.items()]
            what = f'The runs were tested on different data ({listed(told, 8)}).'
            yield note('test', f'{what} Their values cannot be compared.')
            return
    classes = {tuple(row['name'] for row in record['classes']) for record in records.values()}
    if len(classes) > 1:
        yield note('test', 'The runs have different classes.')
