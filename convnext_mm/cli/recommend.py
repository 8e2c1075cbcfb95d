"""Recommend a recipe for a data set of your own and this machine."""

import argparse
import contextlib
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, let_cores_to_workers


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__,
        epilog='The data set is checked first, as by check-data. No file of it is changed. To '
        'estimate the time, four iterations are run on this machine.',
    )
    parser.add_argument('path', help='a folder, or one file with annotations')
    parser.add_argument(
        '--gpu-gb',
        type=float,
        metavar='GB',
        help='recommend for a machine with a GPU of so much memory, 0 for none, instead of this '
        'machine; the time is then not measured',
    )
    parser.add_argument(
        '--no-measure', dest='measure', action='store_false', help='do not measure the time'
    )
    parser.add_argument(
        '--picture',
        type=Path,
        metavar='FILE.png',
        help='draw the sizes of images and objects, and the counts of classes',
    )
    parser.add_argument('--json', action='store_true', help='print the result as JSON')
    return exit_code(run, parser.parse_args(arguments))


def run(args: argparse.Namespace) -> None:
    let_cores_to_workers()
    from mmengine.logging import MMLogger

    from convnext_mm.datasets.own.check import check_own_data, verdict
    from convnext_mm.datasets.own.statistics import statistics
    from convnext_mm.diagnose.recommend.advice import as_text, gpu_memory, numbers, recommend
    from convnext_mm.diagnose.recommend.picture import draw_data
    from convnext_mm.errors import UserError
    from convnext_mm.messages.commands import command

    if args.gpu_gb is not None and not args.gpu_gb >= 0:
        raise UserError(f'--gpu-gb {args.gpu_gb} must be 0, for no GPU, or more')
    MMLogger.get_instance('recommend', log_level='WARNING')
    # Libraries print while a model is built; the JSON must stay clean.
    with contextlib.redirect_stdout(sys.stderr):
        checked = check_own_data(args.path)
        if checked.errors:
            raise UserError(
                f'{args.path}: {verdict(checked)} {command("check-data")} '
                f'{shlex.quote(args.path)} lists them'
            )
        here = args.gpu_gb is None
        gpu_gb = gpu_memory() if here else args.gpu_gb
        advice = recommend(checked, args.path, gpu_gb, measure=here and args.measure)
        found = statistics(checked)
        if args.picture:
            draw_data(found['train'], advice, args.picture)
    if args.json:
        print(json.dumps(dict(data=numbers(checked, found), **asdict(advice)), indent=2))
    else:
        print(as_text(checked, found, advice))
        if args.picture:
            print(f'written: {args.picture}')
