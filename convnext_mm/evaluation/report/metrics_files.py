"""The metrics of a report as files beside it: for other programs, and to compare runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report.html import write_text
from convnext_mm.evaluation.score_threshold import METRICS
from convnext_mm.messages.commands import command

CLASSES = 'metrics.csv'
LABELS = 'labels_to_look_at.csv'


def write_metrics(folder: Path, record: Mapping, doubts: Sequence[Mapping] | None) -> None:
    """Write the metrics, a table of the classes, and for a detector the doubtful labels."""
    text = json.dumps(record, indent=1)
    write_text(folder / METRICS, f'{text}\n')
    write_text(folder / CLASSES, _as_csv(record['classes']))
    if doubts is not None:
        write_text(folder / LABELS, _as_csv(doubts))
    else:
        (folder / LABELS).unlink(missing_ok=True)


def read_metrics(folder: Path) -> dict:
    """Read the metrics that a report wrote into a work dir.

    Raises:
        UserError: There are none.
    """
    path = folder / METRICS
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        if not _is_record(record):
            raise ValueError
        return record
    except (OSError, ValueError, RecursionError) as error:
        what = 'no such file' if isinstance(error, FileNotFoundError) else 'no metrics of a report'
        raise UserError(
            f'{path}: {what}. A training writes it with its report, and so does '
            f'{command("test")} CONFIG CHECKPOINT --work-dir {folder} --report'
        ) from None


def _is_record(record: object) -> bool:
    """Return whether a JSON has the form of the metrics of a report."""
    forms = dict(task=str, metrics=dict, classes=list, recipe=dict)
    return (
        isinstance(record, dict)
        and all(isinstance(record.get(key), form) for key, form in forms.items())
        and all(isinstance(r, dict) and isinstance(r.get('name'), str) for r in record['classes'])
    )


def _as_csv(rows: Sequence[Mapping]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys() if rows else (), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
