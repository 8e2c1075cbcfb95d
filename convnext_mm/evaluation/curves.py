"""Training curves from the scalars MMEngine logs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

# The records of a log, each with the iteration it was written at.
Records = list[tuple[int, dict[str, float]]]


def read_trainings(work_dir: Path) -> list[Records]:
    """What trainings logged in a work dir, oldest first: several where one was resumed."""
    logs = map(_read, sorted(work_dir.glob('*/vis_data/scalars.json')))
    return [log for log in logs if any('loss' in record for _, record in log)]  # tests have none


def read_scalars(work_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of a training as (iteration, value) pairs.

    MMEngine numbers evaluations in epochs where it trains in epochs; here they are at the
    iteration they happened at. A training that was resumed is in several logs, of each of which
    counts what comes before the next one's first iteration.

    Raises:
        FileNotFoundError: No training logged there.
    """
    logs = read_trainings(work_dir)
    if not logs:
        raise FileNotFoundError(f'{work_dir} has no vis_data/scalars.json of a training')
    scalars: dict[str, list[tuple[int, float]]] = defaultdict(list)
    firsts = [next(at for at, record in log if 'loss' in record) for log in logs]
    for place, log in enumerate(logs, 1):
        until = min(firsts[place:], default=math.inf)
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
        except ValueError:  # half a line, of a run that was killed
            continue
        if 'loss' in record:
            iteration = record['iter'] if 'iter' in record else record['step']
        records.append((iteration, record))
    return records
