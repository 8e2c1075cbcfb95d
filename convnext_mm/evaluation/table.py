"""A table of metrics as their fields print them: AP per kind, or mIoU and accuracies."""

from __future__ import annotations

from rich.table import Table

# CocoMetric's names in COCO's order.
AP_COLUMNS = {
    'mAP': 'AP',
    'mAP_50': 'AP50',
    'mAP_75': 'AP75',
    'mAP_s': 'AP small',
    'mAP_m': 'AP medium',
    'mAP_l': 'AP large',
}
AP_ROWS = {'coco/bbox_': 'box', 'coco/segm_': 'mask'}


def headline(metrics: dict[str, float]) -> str:
    """The figures a run is known by, in one line: box and mask AP, or mIoU, or all there are."""
    known = {f'{row} AP': metrics.get(f'{prefix}mAP') for prefix, row in AP_ROWS.items()}
    known['mIoU'] = metrics.get('mIoU')
    found = {name: value for name, value in known.items() if value is not None} or metrics
    return ', '.join(f'{name} {value:.3f}' for name, value in found.items()) or 'no metrics'


def metrics_table(metrics: dict[str, float], title: str) -> Table:
    """Lay out an evaluator's metrics: box and mask AP in COCO's columns, anything else by name.

    COCO gives -1 for a size of which the ground truth has no object; the table shows a dash.
    """
    rows = {
        row: [metrics.get(prefix + key) for key in AP_COLUMNS]
        for prefix, row in AP_ROWS.items()
        if prefix + 'mAP' in metrics
    }
    table = Table(title=title, title_justify='left')
    if rows:
        table.add_column('')
        for column in AP_COLUMNS.values():
            table.add_column(column, justify='right')
        for row, values in rows.items():
            table.add_row(row, *('-' if v is None or v < 0 else f'{v:.3f}' for v in values))
    else:
        table.add_column('metric')
        table.add_column('value', justify='right')
        for name, value in metrics.items():
            table.add_row(name, f'{value:.2f}')
    return table
