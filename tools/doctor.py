#!/usr/bin/env python
"""Check the installation and a config: tools/doctor.py [CONFIG] [CHECKPOINT]"""

import argparse
import sys
import warnings

# The libraries warn about their own deprecated calls; a user cannot act on these warnings.
warnings.filterwarnings('ignore')

try:
    from _options import Parser, add_config_options, exit_code
    from rich.console import Console

    from convnext_mm.compat import apply_workarounds
    from convnext_mm.diagnose.doctor import examine
except (ImportError, OSError) as error:  # OSError: a CUDA library is missing
    print(f'error: {error}\nNothing else can be checked without it: make setup', file=sys.stderr)
    sys.exit(1)


def main() -> int:
    parser = Parser(
        description=__doc__,
        epilog='Exit code: 0 no errors, 1 there are errors to fix, 2 the config does not exist.',
    )
    parser.add_argument('config', nargs='?', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='a trained model of the config')
    add_config_options(parser)
    args = parser.parse_args()
    apply_workarounds()
    from mmengine.logging import MMLogger  # imported late: without MMEngine, the lines above help

    MMLogger.get_current_instance().setLevel('ERROR')  # the models and optimizers of checks log
    well: list[bool] = []
    code = exit_code(lambda args: well.append(check(args)), args)
    return code or int(not all(well))


def check(args: argparse.Namespace) -> bool:
    # rich assumes 80 columns for a file or a pipe; paths and remedies need more.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    return examine(console, args.config, args.checkpoint, args.cfg_options)


if __name__ == '__main__':
    sys.exit(main())
