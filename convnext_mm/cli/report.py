"""Write the report of a test without the model.

`test CONFIG CHECKPOINT --out RESULTS` writes RESULTS. For a detector, a COCO results JSON
of another tool works as well. Reading RESULTS runs no code. The report goes to the work dir. If a
training logged there, the report shows its curves.
"""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument(
        'results',
        metavar='RESULTS',
        help='predictions: COCO results (.json), label maps (folder, .zip), or a .pkl',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='where to write (work_dir of the config, else work_dirs/<config name>)',
    )
    parser.add_argument('--tta', action='store_true', help='the test was run with --tta')
    add_config_options(parser)
    return exit_code(report, parser.parse_args(arguments))


def report(args: argparse.Namespace) -> None:
    from convnext_mm.evaluation.report.page import write_report

    path = write_report(
        args.config,
        args.results,
        work_dir=args.work_dir,
        cfg_options=args.cfg_options,
        tta=args.tta,
    )
    print(f'written: {path}')
