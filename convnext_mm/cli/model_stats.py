"""Print the parameters and FLOPs of a model, and the rule of counting."""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file, or name of a recipe')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('WIDTH', 'HEIGHT'),
        help='size of the image in pixels (detection: 1280 800; segmentation: the test scale)',
    )
    parser.add_argument('--json', action='store_true', help='print exact numbers as JSON')
    return exit_code(report, parser.parse_args(arguments))


def report(args: argparse.Namespace) -> None:
    from rich.console import Console

    from convnext_mm.config.reading import load_checked_config
    from convnext_mm.diagnose.stats import RULE, model_stats, stats_table

    # Libraries print while a model is built; the JSON must stay clean.
    with contextlib.redirect_stdout(sys.stderr):
        cfg = load_checked_config(args.config, parts=['model'])
        stats = model_stats(cfg, args.shape and tuple(args.shape))
    if args.json:
        print(json.dumps(dict(config=args.config, **asdict(stats), rule=RULE), indent=2))
        return
    console = Console(markup=False, highlight=False)
    width, height = stats.shape
    console.print(f'{args.config} at {width}x{height} (width x height)', soft_wrap=True)
    console.print(stats_table(stats))
    for note in (*stats.notes, RULE):
        console.print(note)
