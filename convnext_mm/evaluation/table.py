"""The names of metrics, and a table of their values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rich.table import Table

# Detection: the names of CocoMetric and of COCO, in COCO's order.
AP_COLUMNS = {
    'mAP': 'AP',
    'mAP_50': 'AP50',
    'mAP_75': 'AP75',
    'mAP_s': 'AP small',
    'mAP_m': 'AP medium',
    'mAP_l': 'AP large',
}
AR_COLUMNS = {f'AR@{number}': f'AR {number}' for number in (1, 10, 100)} | {
    f'AR_{size[0]}@100': f'AR {size}' for size in ('small', 'medium', 'large')
}
IOU_TYPES = {'box': 'bbox', 'mask': 'segm'}
AP_ROWS = {f'coco/{iou_type}_': kind for kind, iou_type in IOU_TYPES.items()}
# Segmentation: the names of MMSegmentation's IoUMetric.
SEGMENTATION_METRICS = ('mIoU', 'mAcc', 'aAcc', 'fwIoU')
# Classification: the name of MMPretrain's Accuracy.
TOP1 = 'accuracy/top1'


def headline(metrics: dict[str, float]) -> str:
    """Write the main metrics in one line: box and mask AP, or mIoU, or else all metrics."""
    known = {f'{row} AP': metrics.get(f'{prefix}mAP') for prefix, row in AP_ROWS.items()}
    known['mIoU'] = metrics.get('mIoU')
    found = {name: value for name, value in known.items() if value is not None} or metrics
    return ', '.join(f'{name} {value:.3f}' for name, value in found.items()) or 'no metrics'


def metrics_table(
    metrics: dict[str, float], title: str, published: Mapping[str, float] = MappingProxyType({})
) -> Table:
    """Return a table of metrics: box and mask AP in COCO's columns, other metrics by name.

    A dash stands for COCO's -1: the ground truth has no object of this size.

    Args:
        metrics: The metrics of MMEngine's evaluators.
        title: The title of the table.
        published: Published values of metrics, for a column of their own.
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
        if published:
            table.add_column('published', justify='right')
        for name, value in metrics.items():
            table.add_row(
                name, f'{value:.2f}', *([f'{published[name]:g}'] if name in published else [])
            )
    return table
