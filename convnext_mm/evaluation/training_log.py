"""Read the scalars that MMEngine logs during a training."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

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
