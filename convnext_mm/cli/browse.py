"""Draw augmented training images with their annotations."""

import argparse
from pathlib import Path

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file, or name of a recipe')
    parser.add_argument(
        '--split', choices=['train', 'val'], default='train', help='data set to draw (%(default)s)'
    )
    parser.add_argument('--count', type=int, default=12, help='number of images (%(default)s)')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed for the choice of images and their augmentation (%(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE.png',
        help='output file (<split>.png in the work dir)',
    )
    add_config_options(parser)
    return exit_code(show, parser.parse_args(arguments))


def show(args: argparse.Namespace) -> None:
    from convnext_mm.config.reading import find_work_dir, load_checked_config
    from convnext_mm.diagnose.browse import browse

    cfg = load_checked_config(args.config, args.cfg_options, [f'{args.split}_dataloader'])
    path = args.out or find_work_dir(cfg) / f'{args.split}.png'
    print(browse(cfg, args.split, args.count, path, args.seed))
