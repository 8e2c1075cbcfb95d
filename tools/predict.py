#!/usr/bin/env python
"""Predict on pictures and videos: tools/predict.py CONFIG CHECKPOINT photo.jpg folder 'x/*.png'"""

import argparse
import sys

from _options import add_config_options, exit_code

from convnext_mm.inference.run import predict_files

RESULTS = """
Writes pictures/ with what was found drawn on every picture (a video stays a video), results.json
and, for segmentation, label_maps/: PNGs with the index of each pixel's class. A detector's
results.json is a COCO file with scores. The classes are the checkpoint's.
Exit code: 0 everything was predicted, 1 some files could not be read, 2 it could not start.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=RESULTS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='path, URL or name of published weights')
    parser.add_argument('images', nargs='+', help='pictures, videos, folders of them, globs')
    parser.add_argument(
        '--out', metavar='DIR', help='folder to write (predictions in the work dir)'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='leave out objects below this score; 0 keeps all, as for an evaluation (%(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='images of the same size predicted at once; no prediction depends on it (%(default)s)',
    )
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], help='where to compute (the GPU if there is one)'
    )
    parser.add_argument(
        '--no-pictures', dest='pictures', action='store_false', help='write no pictures'
    )
    add_config_options(parser)
    args = parser.parse_args()
    unread: list[str] = []
    code = exit_code(lambda args: unread.extend(predict_files(args)), args)
    return code or int(bool(unread))


if __name__ == '__main__':
    sys.exit(main())
