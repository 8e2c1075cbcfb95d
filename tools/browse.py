#!/usr/bin/env python
"""See what a model is trained on, augmentation included: tools/browse.py CONFIG"""

import argparse
import sys
from pathlib import Path

from convnext_mm import launch
from convnext_mm.browse import browse
from convnext_mm.config import load_config


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--split', choices=['train', 'val'], default='train', help='whose images (%(default)s)'
    )
    parser.add_argument('--count', type=int, default=12, help='number of images (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='another one, other images')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE.png',
        help='file to write (work_dirs/<config name>/<split>.png)',
    )
    launch.add_config_options(parser)
    return launch.exit_code(show, parser.parse_args())


def show(args: argparse.Namespace) -> None:
    path = args.out or Path('work_dirs', Path(args.config).stem, f'{args.split}.png')
    cfg = load_config(args.config, args.cfg_options)
    print(browse(cfg, args.split, args.count, path, args.seed))


if __name__ == '__main__':
    sys.exit(main())
