"""Check a published data set, and download what is missing."""

import sys

from convnext_mm.cli.options import Parser
from convnext_mm.datasets.published.catalogue import PublishedDataset
from convnext_mm.errors import UserError


def check_published(dataset: PublishedDataset, arguments: list[str] | None) -> int:
    """Check a published data set, as the arguments of the command say; return the exit code."""
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
        from convnext_mm.datasets.published.prepare import prepare

        complete = prepare(dataset, args.root, archives=args.archives, download=args.download)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted: the same command continues from here', file=sys.stderr)
        return 130
    return 0 if complete else 1
