"""Read the scalars that MMEngine logs during a training."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

# The records of a log, each with the iteration it was written at.
Records = list[tuple[int, dict[str, float]]]
_LARGEST = 1e300  # a log has no such values, and plots cannot scale them


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
    for line in log.read_text(errors='replace').splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # an incomplete line of a killed run
            continue
        if not isinstance(record, dict):
            continue
        record = {name: value for name, value in record.items() if _can_be_drawn(value)}
        if 'loss' in record:
            at = record.get('iter', record.get('step'))
            iteration = at if isinstance(at, int) else iteration
        records.append((iteration, record))
    return records


def _can_be_drawn(value: object) -> bool:
    return type(value) in (int, float) and not abs(value) >= _LARGEST  # NaN leaves a gap
