#!/usr/bin/env python
"""Try --data with hostile label maps: benchmarks/hostile_label_maps.py [--cases 1000]

Each case is a small data set with one hostile change, chosen by its seed. It is checked, a config
is adapted to it, and all of its data is read by the classes that a training uses. A row of the
table is a kind of change. *accepted* means that a perfect segmentor, which knows what was written,
scores mIoU 100 with the classes of the written config, and that all labelled pixels are trained on.
*noted* means that id 0 was meant otherwise, which names and ids do not prove, and that the output
of the check says how it is read. Nothing in label maps is repaired. The exit code is 1 if a case is
wrong or ends in a traceback.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from convnext_mm.messages.wording import printable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.datasets.hostile_label_maps import KINDS, judge, quiet, write_case

OUTCOMES = ('refused', 'accepted', 'noted', 'wrong', 'traceback')
BAD = ('wrong', 'traceback')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0, help='seed of the first case')
    parser.add_argument('--kind', choices=KINDS, help='only this kind')
    parser.add_argument('--list', action='store_true', help='print each case')
    args = parser.parse_args()
    quiet()
    start = time.perf_counter()
    counts: Counter[tuple[str, str]] = Counter()
    kinds = [args.kind] if args.kind else list(KINDS)
    console = Console(highlight=False, markup=False, soft_wrap=True, width=100)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seed, args.seed + args.cases):
            kind = kinds[seed % len(kinds)]
            root = Path(folder) / f'data{seed}'
            root.mkdir()
            case = write_case(root, kind, random.Random(seed).choice)
            outcome, reason = judge(case, Path(folder) / f'work{seed}')
            counts[kind, outcome] += 1
            if args.list or outcome in BAD:
                console.print(printable(f'{kind}, seed {seed}: {outcome}: {reason}'[:300]))
    table = Table('kind', box=None)
    for outcome in OUTCOMES:
        table.add_column(outcome, justify='right')
    for kind in kinds:
        table.add_row(kind, *(str(counts[kind, outcome]) for outcome in OUTCOMES))
    totals = {outcome: sum(counts[kind, outcome] for kind in kinds) for outcome in OUTCOMES}
    table.add_row('all', *map(str, totals.values()))
    console.print(table)
    print(f'{args.cases} cases from seed {args.seed} in {time.perf_counter() - start:.0f} s')
    return 1 if any(totals[outcome] for outcome in BAD) else 0


if __name__ == '__main__':
    sys.exit(main())
