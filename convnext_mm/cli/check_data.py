"""Check a data set of your own before training on it."""

import shlex
import sys

from convnext_mm.cli.options import Parser
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description='Check a data set of your own, as training with --data PATH does first. No '
        'file is changed.',
        epilog='Exit code: 0 ready to train on, after the repairs that are listed, which training '
        'makes in a copy; 1 there are errors; 2 the data set cannot be read.',
    )
    parser.add_argument('path', help='a folder, or one file with annotations')
    parser.add_argument(
        '--report',
        nargs='?',
        const='data_report.html',
        metavar='FILE.html',
        help='write a page with the problems, classes, sizes and sample images (data_report.html)',
    )
    args = parser.parse_args(arguments)

    from rich.console import Console

    from convnext_mm.datasets.own.check import check_any_data, show_checked, verdict
    from convnext_mm.datasets.own.class_folders.folders import ClassFolders

    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        checked = check_any_data(args.path, console)
        show_checked(checked, console)
        console.print(verdict(checked))
        by_class = isinstance(checked, ClassFolders)
        if not checked.errors and not by_class:
            recommend = f'{command("recommend")} {shlex.quote(args.path)}'
            console.print(f'{recommend} recommends a recipe for it.')
        if args.report and by_class:
            raise UserError('--report: there is no page for images by class')
        if args.report:
            # Not at the top: it loads the plotting library.
            from convnext_mm.evaluation.report.data_page import write_data_page

            console.print(f'written: {write_data_page(checked, args.report)}')
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 1 if checked.errors else 0
