#!/usr/bin/env python
"""Try --data with hostile annotations: benchmarks/hostile_data.py [--drawn 1500 | --formats 100]

A small COCO data set gets a hostile value in every key, of one entry and of all, and random values
in several keys. Each case is refused with a message, or a perfect detector scores AP 1.000 on it,
for boxes and masks, through the data set class and the metric of a training, which reads every
object that was counted. All else is counted as wrong, as a traceback, or as a crash or a hang of
the interpreter.

With --formats N, N data sets in each way to write each other format (YOLO, Pascal VOC, VIA,
Labelme, CVAT, Supervisely) get damaged values, lines, bytes, encodings, names and folders. Each
case is refused with a message, or it is written as COCO and read again without an error or a lost
object.
"""

import argparse
import collections
import faulthandler
import json
import logging
import resource
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.datasets import hostile_coco, hostile_formats  # noqa: E402

OUTCOMES = ('refused', 'repaired', 'accepted', 'wrong', 'traceback', 'crash')
GOOD = OUTCOMES[:3]
TIME_LIMIT = 60  # seconds for a case
MEMORY_LIMIT = 16 * 2**30  # bytes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--drawn', type=int, default=1500, help='number of random cases')
    parser.add_argument('--seed', type=int, default=0, help='of the random cases')
    parser.add_argument(
        '--formats', type=int, metavar='N', help='try other formats than COCO, with N cases of each'
    )
    parser.add_argument('--worker', nargs=2, metavar=('FOLDER', 'START'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(Path(args.worker[0]), int(args.worker[1]), args.formats)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.formats:
            cases = [(case.name, case) for case in hostile_formats.cases(args.formats)]
        else:
            cases = [*hostile_coco.sweep(), *hostile_coco.drawn(args.drawn, args.seed)]
            hostile_coco.write_images(folder / 'data')
            for number, (_, data) in enumerate(cases):
                (folder / f'{number}.json').write_bytes(data)
        outcomes = judge_all(folder, len(cases), args.formats)
    counts = collections.defaultdict(collections.Counter)
    for (kind, _), (outcome, _) in zip(cases, outcomes):
        counts[kind][outcome] += 1
        counts['all'][outcome] += 1
    title = f'{len(cases):,} data sets, seed {args.seed}'
    table = Table('hostile value in', 'cases', *OUTCOMES, title=title, title_justify='left')
    for kind in [*sorted(counts.keys() - {'all'}), 'all']:
        row = counts[kind]
        table.add_row(kind, str(row.total()), *(str(row[outcome] or '') for outcome in OUTCOMES))
    Console(width=110).print(table)
    failed = [(n, *outcome) for n, outcome in enumerate(outcomes) if outcome[0] not in GOOD]
    for number, outcome, message in failed:
        print(f'case {number}, {cases[number][0]}: {outcome}: {message}')
    return 1 if failed else 0


def judge_all(folder: Path, number: int, formats: int | None) -> list[tuple[str, str]]:
    """Judge cases in a process, and in a new one after each crash."""
    outcomes: list[tuple[str, str]] = []
    while len(outcomes) < number:
        command = [sys.executable, __file__, '--worker', folder, len(outcomes)]
        command += ['--formats', formats] if formats else []
        with subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as worker:
            output, errors = worker.communicate()
        outcomes += [tuple(json.loads(line)) for line in output.splitlines()]
        if worker.returncode:
            outcomes.append(('crash', f'exit code {worker.returncode}: {errors[-500:]}'))
    return outcomes


def work(folder: Path, start: int, formats: int | None) -> None:
    """Print the outcome of each case from a number on."""
    from mmengine.logging import MMLogger

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    faulthandler.enable()
    MMLogger.get_instance('benchmark', log_level=logging.ERROR)
    judge = None if formats else hostile_coco.Judge(folder / 'data')
    cases = [*hostile_formats.cases(formats)] if formats else [*folder.glob('*.json')]
    for number in range(start, len(cases)):
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        try:
            if formats:
                outcome = hostile_formats.judge(cases[number], folder / str(number))[1], ''
            else:
                # Every third case is a validation split.
                split = 'train' if number % 3 else 'val'
                outcome = judge((folder / f'{number}.json').read_bytes(), split), ''
        except (hostile_coco.Wrong, hostile_formats.Wrong) as error:
            outcome = 'wrong', str(error)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome = 'traceback', f'{error!r:.300} in {place.filename}:{place.lineno}'
        print(json.dumps(outcome), flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == '__main__':
    sys.exit(main())
