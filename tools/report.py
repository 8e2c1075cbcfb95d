#!/usr/bin/env python
"""Write the report of a test without the model: tools/report.py RESULTS.pkl CONFIG

RESULTS.pkl is what `tools/test.py CONFIG CHECKPOINT --out RESULTS.pkl` wrote. The report goes into
the work dir, whose training curves it shows. A pickle can run code: open only your own.
"""

import argparse
import sys

from _options import add_config_options, exit_code

from convnext_mm.config.reading import find_work_dir, load_config
from convnext_mm.evaluation.report.page import NAME, write_report
from convnext_mm.evaluation.report.results import read_results
from convnext_mm.evaluation.tta.config import augment_test


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('results', metavar='RESULTS.pkl', help='predictions that test.py wrote')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help="where it goes (the config's work_dir, else work_dirs/<config name>)",
    )
    parser.add_argument('--tta', action='store_true', help='the test was one with --tta')
    add_config_options(parser)
    return exit_code(report, parser.parse_args())


def report(args: argparse.Namespace) -> None:
    found = read_results(args.results)
    cfg = load_config(args.config, args.cfg_options)
    if args.tta:
        augment_test(cfg)
    path = find_work_dir(cfg, args.work_dir) / NAME
    write_report(cfg, found, path)
    print(f'written: {path}')


if __name__ == '__main__':
    sys.exit(main())
