"""Predict on images and videos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options

if TYPE_CHECKING:
    from convnext_mm.inference import PredictionSummary

RESULTS = """
The output folder gets results.json and pictures/: every image with its predictions drawn on it (a
video becomes a video). For a detector, results.json is a COCO file with scores. A segmentor also
writes label_maps/: PNG files with the class index of each pixel. The class names come from the
checkpoint.
Exit code: 0 all files were predicted, 1 some files could not be read, 2 an error stopped it.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__, epilog=RESULTS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, or name of a recipe')
    parser.add_argument('checkpoint', help='path, URL or name of published weights')
    parser.add_argument('images', nargs='+', help='images, videos, folders of them, globs')
    parser.add_argument('--out', metavar='DIR', help='output folder (predictions/ in the work dir)')
    parser.add_argument(
        '--score-thr',
        type=float,
        help='leave out objects below this score; 0 keeps all, for an evaluation (the score with '
        'the best F1 in the report of this checkpoint, else 0.3)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='number of images of one size predicted at once; changes no result (%(default)s)',
    )
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], help='device to compute on (the GPU if there is one)'
    )
    parser.add_argument(
        '--no-pictures', dest='pictures', action='store_false', help='draw no pictures'
    )
    add_config_options(parser)
    args = parser.parse_args(arguments)
    unread: dict[Path, str] = {}
    code = exit_code(lambda args: unread.update(run(args).unread), args)
    return code or int(bool(unread))


def run(args: argparse.Namespace) -> PredictionSummary:
    from convnext_mm.inference import predict
    from convnext_mm.messages.wording import counted

    summary = predict(
        args.config,
        args.checkpoint,
        args.images,
        out=args.out,
        score_thr=args.score_thr,
        batch_size=args.batch_size,
        device=args.device,
        pictures=args.pictures,
        options=args.cfg_options,
    )
    found = counted(summary.images, 'image')
    if summary.objects is not None:
        threshold, origin = summary.threshold
        found += f', {counted(summary.objects, "object")} with a score from {threshold:.3g}'
        found += f' ({origin})' if origin else ''
    print(f'{found}, written to {summary.folder}')
    for path, reason in summary.unread.items():
        print(f'not read: {path}: {reason}', file=sys.stderr)
    return summary
