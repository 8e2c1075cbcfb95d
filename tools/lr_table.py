#!/usr/bin/env python
"""Print the learning rate and weight decay of all parameters: tools/lr_table.py CONFIG"""

import argparse
import sys

from _options import Parser, add_config_options, exit_code
from mmengine.logging import MMLogger

from convnext_mm.config.reading import load_checked_config
from convnext_mm.diagnose.lr_table import as_json, as_markdown, as_text, lr_table

FORMATS = {'text': as_text, 'markdown': as_markdown, 'json': as_json}


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--format', choices=FORMATS, default='text', help='format of the table (text)'
    )
    add_config_options(parser)
    args = parser.parse_args()
    MMLogger.get_current_instance().setLevel(
        'WARNING'
    )  # the optimizer wrapper constructor logs its own table
    return exit_code(show, args)


def show(args: argparse.Namespace) -> None:
    parts = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg')
    print(FORMATS[args.format](lr_table(load_checked_config(args.config, args.cfg_options, parts))))


if __name__ == '__main__':
    sys.exit(main())
