#!/usr/bin/env python
"""Train a detector or segmentor: tools/train.py configs/cascade/convnext_t_coco.py"""

import argparse
import os
import sys

# OpenMP threads that spin while they wait take the cores from data-loader workers and whatever else
# runs; on a busy CPU that makes training several times slower. It is read when torch is loaded.
os.environ.setdefault('GOMP_SPINCOUNT', '1000')

from convnext_mm.engine import launch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    launch.add_common_options(parser)
    parser.add_argument(
        '--data',
        metavar='PATH',
        help='train on a data set of your own: objects in COCO format, or images and label maps; '
        'classes, heads and schedule are set, and written as a config into the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    batch = parser.add_mutually_exclusive_group()
    batch.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size over the recipe's",
    )
    batch.add_argument(
        '--accumulate',
        action='store_true',
        help="keep the recipe's batch size on fewer GPUs: sum the gradients of several batches",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint or, without one, from the latest in the work dir',
    )
    parser.add_argument(
        '--no-report',
        dest='report',
        action='store_false',
        help='write no report.html of the last evaluation into the work dir',
    )
    return launch.exit_code(launch.train, parser.parse_args())


if __name__ == '__main__':
    sys.exit(main())
