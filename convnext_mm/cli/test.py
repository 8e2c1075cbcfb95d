"""Evaluate a checkpoint."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_run_options, let_cores_to_workers, set_local_rank


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file, or name of a recipe')
    parser.add_argument('checkpoint', help='weights: path, URL, hf:// or timm:// id, or short name')
    add_run_options(parser)
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='write the predictions: FILE.json (COCO results) of a detector, FOLDER or FILE.zip '
        '(label maps) of a segmentor, FILE.pkl of any model',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of the predictions here')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--report', action='store_true', help='write report.html into the work dir')
    return exit_code(run, parser.parse_args(arguments))


def run(args: argparse.Namespace) -> None:
    let_cores_to_workers()
    from convnext_mm.engine import test

    set_local_rank(args)
    test(
        args.config,
        args.checkpoint,
        work_dir=args.work_dir,
        options=args.cfg_options,
        launcher=args.launcher,
        out=args.out,
        show_dir=args.show_dir,
        tta=args.tta,
        report=args.report,
        verbose=args.verbose,
    )
