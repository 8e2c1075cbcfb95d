#!/usr/bin/env python
"""Write weights under the names of another project: tools/convert_weights.py SRC DST --to timm"""

import sys

from _options import Parser, exit_code

from convnext_mm.weights.convert import TARGETS, convert_file


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('source', metavar='SRC', help='path, URL or name of published weights')
    parser.add_argument(
        'target', metavar='DST', help='file to write: .safetensors, or .pth, .pt, .bin'
    )
    parser.add_argument(
        '--to', choices=TARGETS, default='official', help='names to use (default: %(default)s)'
    )
    args = parser.parse_args()
    return exit_code(lambda args: print(convert_file(args.source, args.target, args.to)), args)


if __name__ == '__main__':
    sys.exit(main())
