#!/usr/bin/env python
"""A trained model as an ONNX file: tools/export.py CONFIG CHECKPOINT --out model.onnx"""

import argparse
import sys

from _options import add_config_options, exit_code

from convnext_mm.export.run import export_file

RESULT = """
Batch, height and width of the input stay open. The file is compared with PyTorch by ONNX Runtime
at other sizes than the traced one before it is left behind. Its metadata say how to prepare a
picture, and docs/export.md how to read its outputs.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=RESULT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='path, URL or name of published weights')
    parser.add_argument('--out', metavar='FILE', help='file to write (model.onnx in the work dir)')
    parser.add_argument('--backbone', action='store_true', help='the backbone alone: its maps')
    parser.add_argument(
        '--fp16',
        action='store_true',
        help='weights and convolutions in half precision; GRN, sums of LayerNorm and boxes in fp32',
    )
    parser.add_argument(
        '--check-on',
        nargs='+',
        metavar='PICTURE',
        help='compare on these pictures, as the test pipeline prepares them (rendered shapes)',
    )
    add_config_options(parser)
    return exit_code(export_file, parser.parse_args())


if __name__ == '__main__':
    sys.exit(main())
