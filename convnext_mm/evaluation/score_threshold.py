"""The score threshold that a report found best for a checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

DEFAULT = 0.3
METRICS = 'metrics.json'  # which a report writes into its work dir


class ScoreThreshold(NamedTuple):
    """A score threshold, and in words where it comes from."""

    value: float
    origin: str


def fingerprint(checkpoint: Path) -> str:
    """Return the SHA-256 of a file; it tells whether a threshold belongs to a checkpoint."""
    with open(checkpoint, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def find_score_threshold(checkpoint: Path, work_dirs: Iterable[Path]) -> ScoreThreshold:
    """Return the threshold with the best F1 of this very checkpoint, else the default.

    Args:
        checkpoint: The file of the weights.
        work_dirs: The folders in which a report may have been written.
    """
    digest = None
    for folder in dict.fromkeys(work_dirs):
        try:
            record = json.loads((folder / METRICS).read_text(encoding='utf-8'))
            known, value = list(record['checkpoints']), float(record['score_threshold'])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # no report, of a segmentor, or not of a checkpoint file
        digest = digest or fingerprint(checkpoint)
        # Test-time augmentation changes the scores.
        if digest in known and not record.get('test_time_augmentation') and _is_score(value):
            data = record.get('dataset', 'its test data')
            return ScoreThreshold(value, f'the best F1 of this checkpoint on {data}')
    return ScoreThreshold(DEFAULT, 'the default; a report of this checkpoint finds the best')


def _is_score(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= 1
