"""Write a data set of your own in COCO or YOLO format."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description='Write a data set of your own, in any format that training reads, as COCO or '
        'YOLO files into a new folder: checked, repaired, with its splits.',
        epilog='The folder is written completely or not at all. Your files are not changed.',
    )
    parser.add_argument('path', help='a folder, or one file with annotations')
    parser.add_argument('out', help='the new folder, which must not exist')
    parser.add_argument(
        '--to', choices=['coco', 'yolo'], default='coco', help='the format (%(default)s)'
    )
    parser.add_argument(
        '--images',
        choices=['link', 'copy'],
        default='link',
        help='symbolic links to your images, or copies of them (%(default)s)',
    )
    parser.add_argument(
        '--boxes',
        action='store_true',
        help='leave masks out; also for data sets where only some objects have one',
    )
    parser.add_argument(
        '--split',
        action='store_true',
        help='set 20%% of the images aside for validation if there are none, as a training does',
    )
    return exit_code(run, parser.parse_args(arguments))


def run(args: argparse.Namespace) -> None:
    from rich.console import Console

    from convnext_mm.datasets.own.check import check_own_data, show_checked
    from convnext_mm.datasets.own.convert import convert_data

    console = Console(highlight=False, soft_wrap=True, markup=False)
    checked = check_own_data(args.path, console=console)
    show_checked(checked, console)
    options = dict(images=args.images, boxes=args.boxes, split=args.split)
    for line in convert_data(checked, args.out, args.to, **options):
        console.print(line)
