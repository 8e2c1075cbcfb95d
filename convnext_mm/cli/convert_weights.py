"""Write weights under the names of another project."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser
from convnext_mm.weights.names import TARGETS


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('source', metavar='SRC', help='path, URL or name of published weights')
    parser.add_argument(
        'target', metavar='DST', help='file to write: .safetensors, or .pth, .pt, .bin'
    )
    parser.add_argument(
        '--to', choices=TARGETS, default='official', help='names to use (default: %(default)s)'
    )
    return exit_code(convert, parser.parse_args(arguments))


def convert(args: argparse.Namespace) -> None:
    from convnext_mm.weights.convert import convert_file

    print(convert_file(args.source, args.target, args.to))
