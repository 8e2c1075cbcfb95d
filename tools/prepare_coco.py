#!/usr/bin/env python
"""Check COCO: tools/prepare_coco.py [ROOT]; download what is missing: --download"""

import sys

from _options import Parser

from convnext_mm.datasets.published.catalogue import COCO, PublishedDataset
from convnext_mm.datasets.published.prepare import prepare
from convnext_mm.errors import UserError


def main(dataset: PublishedDataset, arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=f'Check {dataset.name}, and with --download fetch what is missing.',
        epilog='Exit code: 0 complete; 1 something is missing or wrong; 2 it cannot be fetched.',
    )
    parser.add_argument(
        'root', nargs='?', default=dataset.root, help='folder of the data set (%(default)s)'
    )
    parser.add_argument(
        '--download',
        action='store_true',
        help='download and unzip the archives that are needed; continues an interrupted download',
    )
    parser.add_argument('--archives', metavar='DIR', help='folder of the zip files (ROOT)')
    args = parser.parse_args(arguments)
    try:
        complete = prepare(dataset, args.root, archives=args.archives, download=args.download)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted: the same command continues from here', file=sys.stderr)
        return 130
    return 0 if complete else 1


if __name__ == '__main__':
    sys.exit(main(COCO))
