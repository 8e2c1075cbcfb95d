"""Describe a weights file and how to use it."""

import argparse
import json

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser


def show(args: argparse.Namespace) -> None:
    from convnext_mm.diagnose.inspect_weights import as_json, describe, inspect_file

    found = inspect_file(args.file)
    print(json.dumps(as_json(found), indent=2) if args.json else describe(args.file, found))


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('file', help='path, URL or name of published weights')
    parser.add_argument('--json', action='store_true', help='print the metadata as JSON')
    return exit_code(show, parser.parse_args(arguments))
