"""Check the installation and a config."""

import argparse
import contextlib
import json
import sys
import warnings

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options
from convnext_mm.registration import explain_missing


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__,
        epilog='Exit code: 0 no errors, 1 there are errors to fix, 2 the config does not exist.',
    )
    parser.add_argument('config', nargs='?', help='config file, or name of a recipe')
    parser.add_argument('checkpoint', nargs='?', help='a trained model of the config')
    parser.add_argument(
        '--json',
        action='store_true',
        help='print versions, platform and findings as JSON, for a bug report; the home folder is '
        'written as ~',
    )
    add_config_options(parser)
    args = parser.parse_args(arguments)
    # The libraries warn about their own deprecated calls; a user cannot act on these warnings.
    warnings.filterwarnings('ignore')
    try:
        from mmengine.logging import MMLogger

        from convnext_mm.compat import apply_workarounds
        from convnext_mm.diagnose.doctor import bug_report, examine, examined
    except (ImportError, OSError) as error:  # OSError: a CUDA library is missing
        reason = explain_missing(error) if isinstance(error, ModuleNotFoundError) else error
        print(f'error: {reason}\nNothing else can be checked without it', file=sys.stderr)
        return 1
    apply_workarounds()
    MMLogger.get_current_instance().setLevel('ERROR')  # the models and optimizers of checks log
    well: list[bool] = []

    def report(args: argparse.Namespace) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # libraries print lines that are no JSON
            content = bug_report(examined(args.config, args.checkpoint, args.cfg_options))
        print(json.dumps(content, indent=2))
        well.append(all(finding['level'] != 'error' for finding in content['findings']))

    def check(args: argparse.Namespace) -> None:
        from rich.console import Console

        # rich assumes 80 columns for a file or a pipe; paths and remedies need more.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
        well.append(examine(console, args.config, args.checkpoint, args.cfg_options))

    return exit_code(report if args.json else check, args) or int(not all(well))
