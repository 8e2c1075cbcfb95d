#!/usr/bin/env python
"""Parameters and FLOPs of a model: tools/model_stats.py configs/cascade/convnext_t_coco.py"""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict

from _options import exit_code
from rich.console import Console

from convnext_mm.config.reading import load_config
from convnext_mm.diagnose.stats import RULE, model_stats, stats_table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=RULE)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('WIDTH', 'HEIGHT'),
        help="size of the image (1280 800; for segmentation the config's test scale)",
    )
    parser.add_argument('--json', action='store_true', help='print JSON, unrounded')
    return exit_code(report, parser.parse_args())


def report(args: argparse.Namespace) -> None:
    # What libraries print while a model is built must not get into the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        stats = model_stats(load_config(args.config), args.shape and tuple(args.shape))
    if args.json:
        print(json.dumps(dict(config=args.config, **asdict(stats), rule=RULE), indent=2))
        return
    console = Console(markup=False, highlight=False)
    width, height = stats.shape
    console.print(f'{args.config} at {width}x{height} (width x height)', soft_wrap=True)
    console.print(stats_table(stats))
    for note in (*stats.notes, RULE):
        console.print(note)


if __name__ == '__main__':
    sys.exit(main())
