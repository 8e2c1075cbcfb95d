#!/usr/bin/env python
"""Describe a weights file and how to use it: tools/inspect_weights.py FILE"""

import argparse
import json
import sys

from _options import Parser, exit_code

from convnext_mm.diagnose.inspect_weights import as_json, describe, inspect_file


def show(args: argparse.Namespace) -> None:
    found = inspect_file(args.file)
    print(json.dumps(as_json(found), indent=2) if args.json else describe(args.file, found))


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('file', help='path, URL or name of published weights')
    parser.add_argument('--json', action='store_true', help='print the metadata as JSON')
    return exit_code(show, parser.parse_args())


if __name__ == '__main__':
    sys.exit(main())
