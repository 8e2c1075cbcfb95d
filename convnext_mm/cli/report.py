"""Write the report of a test without the model, or compare several runs.

`test CONFIG CHECKPOINT --out RESULTS` writes RESULTS. For a detector, a COCO results JSON
of another tool works as well. Reading RESULTS runs no code. The report goes to the work dir. If a
training logged there, the report shows its curves.

With the work dirs of several runs, `report RUN RUN ...`, it writes comparison.html into
the folder that holds them. Each needs the metrics.json that its report wrote.
"""

import argparse
from pathlib import Path

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument(
        'results',
        metavar='RESULTS|RUN',
        help='predictions: COCO results (.json), label maps (folder, .zip), or a .pkl; '
        'or the work dir of a run',
    )
    parser.add_argument(
        'config', metavar='CONFIG|RUN', nargs='+', help='config file; or the work dirs of more runs'
    )
    parser.add_argument(
        '--work-dir',
        help='where to write (work_dir of the config, else work_dirs/<config name>; for several '
        'runs the folder that holds them)',
    )
    parser.add_argument('--tta', action='store_true', help='the test was run with --tta')
    add_config_options(parser)
    return exit_code(report, parser.parse_args(arguments))


def report(args: argparse.Namespace) -> None:
    from convnext_mm.evaluation.report.page import write_report
    from convnext_mm.evaluation.report.runs_page import compare_runs

    if len(args.config) > 1 or Path(args.config[0]).is_dir():
        path = compare_runs([args.results, *args.config], args.work_dir)
        print(f'written: {path}')
        return
    path = write_report(
        args.config[0],
        args.results,
        work_dir=args.work_dir,
        cfg_options=args.cfg_options,
        tta=args.tta,
    )
    print(f'written: {path}')
