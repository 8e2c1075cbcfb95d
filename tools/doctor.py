#!/usr/bin/env python
"""Is everything installed, and does a config fit together: tools/doctor.py [CONFIG] [CHECKPOINT]"""

import argparse
import sys
import warnings

# Deprecations inside the libraries are not what is asked for here.
warnings.filterwarnings('ignore')

try:
    from _options import add_config_options, exit_code
    from rich.console import Console

    from convnext_mm.compat import apply_workarounds
    from convnext_mm.diagnose.doctor.run import examine
except (ImportError, OSError) as error:  # OSError: a library of CUDA that is not there
    print(f'error: {error}\nWithout that nothing else can be checked: make setup', file=sys.stderr)
    sys.exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Exit code: 0 nothing is wrong, 1 something is to be put right, 2 no such config.',
    )
    parser.add_argument('config', nargs='?', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='a trained model of it')
    add_config_options(parser)
    args = parser.parse_args()
    apply_workarounds()
    from mmengine.logging import MMLogger  # here, for without MMEngine convnext_mm says what to do

    MMLogger.get_current_instance().setLevel('ERROR')  # what the checks' models and optimizers log
    well: list[bool] = []
    code = exit_code(lambda args: well.append(check(args)), args)
    return code or int(not all(well))


def check(args: argparse.Namespace) -> bool:
    # In a file or a pipe, wider than the 80 columns that rich then takes.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    return examine(console, args.config, args.checkpoint, args.cfg_options)


if __name__ == '__main__':
    sys.exit(main())
